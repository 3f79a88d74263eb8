//! The manifests in `deploy/`, rendered by the real tools and read as the API's own types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Serialize;
use serde::de::{Deserialize as _, DeserializeOwned};
use serde_json::Value;

/// A path in `deploy/`.
#[must_use]
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

/// Where the tools are that `cargo xtask test` fetches.
///
/// # Panics
/// When the environment does not say.
#[must_use]
pub fn tools() -> PathBuf {
    let tools = std::env::var_os("REPRISE_TOOLS");
    PathBuf::from(tools.expect(
        "REPRISE_TOOLS is not set: run these tests by `cargo xtask test`, which fetches the tools",
    ))
}

/// `helm` or `kubectl`.
#[must_use]
pub fn tool(name: &str) -> Command {
    Command::new(tools().join(name))
}

/// The chart, rendered with these values (`name=JSON`).
///
/// # Panics
/// When helm cannot be started.
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

/// What a tool rendered, by kind; one document of each.
///
/// # Panics
/// When it failed, or there are two of a kind.
#[must_use]
pub fn documents(output: &Output) -> BTreeMap<String, Value> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = BTreeMap::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).expect("no YAML");
        if value.is_null() {
            continue;
        }
        let kind = value["kind"].as_str().expect("no kind").to_owned();
        assert!(found.insert(kind, value).is_none(), "two of a kind");
    }
    found
}

/// Reads a document as the API's type. A field that the type does not know would be gone when it is
/// written again.
///
/// # Panics
/// When it is not of that type.
#[must_use]
pub fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> T {
    let typed: T = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{error}: {document:#}"));
    let again = serde_json::to_value(&typed).expect("cannot be written");
    assert_eq!(*document, again, "a field is unknown to the API");
    typed
}

/// The pod that it starts.
///
/// # Panics
/// When its selector does not select it, which the API server refuses.
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

/// The capabilities that the pod's container is given, in order; all others are taken from it.
///
/// # Panics
/// When they are not.
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
