//! The manifests in `deploy/`, rendered by the real tools and parsed as API types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Returns a path in `deploy/`.
#[must_use]
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

/// Directory of the tools that `cargo xtask test` downloads.
///
/// # Panics
/// If the environment variable is not set.
#[must_use]
pub fn tools() -> PathBuf {
    let tools = std::env::var_os("REPRISE_TOOLS");
    PathBuf::from(tools.expect(
        "REPRISE_TOOLS is not set: run these tests by `cargo xtask test`, which downloads the tools",
    ))
}

/// Returns a command for `helm` or `kubectl`.
#[must_use]
pub fn tool(name: &str) -> Command {
    Command::new(tools().join(name))
}

/// Renders the chart with these values (`name=JSON`).
///
/// # Panics
/// If helm cannot be started.
#[must_use]
pub fn helm<S: AsRef<str>>(values: &[S]) -> Output {
    let mut helm = tool("helm");
    helm.args(["template", "edge"])
        .arg(deploy("helm/reprise"))
        .args(["--namespace", "observers"]);
    for value in values {
        helm.args(["--set-json", value.as_ref()]);
    }
    helm.output().expect("failed to start helm")
}

/// Returns the documents of a tool's output by kind.
///
/// # Panics
/// If the tool failed or a kind occurs twice.
#[must_use]
pub fn documents(output: &Output) -> BTreeMap<String, Value> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = BTreeMap::new();
    for value in serde_saphyr::from_multiple::<Value>(&text).expect("no YAML") {
        if value.is_null() {
            continue;
        }
        let kind = value["kind"].as_str().expect("no kind").to_owned();
        assert!(found.insert(kind, value).is_none(), "duplicate kind");
    }
    found
}

/// Parses a document as an API type and asserts that no field is unknown to the type.
///
/// # Panics
/// If the document has another type or an unknown field.
#[must_use]
pub fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> T {
    let typed: T = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{error}: {document:#}"));
    let again = serde_json::to_value(&typed).expect("failed to serialise");
    assert_eq!(*document, again, "a field is unknown to the API");
    typed
}

/// Returns the pod template of the DaemonSet.
///
/// # Panics
/// If its selector does not match its template, which the API server would reject.
#[must_use]
pub fn pod(daemon_set: &DaemonSet) -> &PodSpec {
    let spec = daemon_set.spec.as_ref().expect("no spec");
    let labels = spec
        .template
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.clone());
    let labels = labels.expect("no labels");
    let wanted = spec.selector.match_labels.clone().expect("no selector");
    for (key, value) in &wanted {
        assert_eq!(labels.get(key), Some(value), "{key}");
    }
    spec.template.spec.as_ref().expect("no pod")
}

/// Returns the sorted capabilities of the pod's container, which must drop all others.
///
/// # Panics
/// If it does not drop all others.
#[must_use]
pub fn added(pod: &PodSpec) -> Vec<String> {
    let context = pod.containers[0].security_context.as_ref();
    let capabilities = context.and_then(|context| context.capabilities.as_ref());
    let capabilities = capabilities.expect("no capabilities");
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    let mut added = capabilities.add.clone().expect("none added");
    added.sort_unstable();
    added
}
