//! The rules in `dashboards/rules/`, which are kept by hand, as the Prometheus operator and the Helm chart take them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use serde_yaml_ng::Value;

/// Where the runbooks of the alerts are published, unless a base is given: nowhere. They are named by their paths, which lead to them
/// in the repository and in the release; an address that leads nowhere would look like more.
pub(super) const RUNBOOK_BASE: &str = "";

/// The files of rules.
pub(super) const FILES: [&str; 2] = ["recording.yaml", "alerts.yaml"];

const HEAD: &str =
    "# Written by `cargo xtask generate` from dashboards/rules/: change the rules there.\n";

/// One object of the operator for all rules, and a copy for the chart, which cannot reach out of its directory.
pub(super) fn files(workspace: &Path, base: &str) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let mut groups = Vec::new();
    for name in FILES {
        let path = workspace.join("dashboards/rules").join(name);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let rules: Value = serde_yaml_ng::from_str(&text)
            .with_context(|| format!("failed to parse {}", path.display()))?;
        let list = rules.get("groups").and_then(Value::as_sequence);
        let list = list.context("failed to find groups of rules")?;
        groups.extend(list.iter().map(|group| published(group.clone(), base)));
        files.push((
            workspace.join("deploy/helm/reprise/rules").join(name),
            format!("{HEAD}{text}"),
        ));
    }
    let object = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": { "name": "reprise", "labels": { "app.kubernetes.io/name": "reprise" } },
        "spec": { "groups": groups },
    });
    let text = serde_yaml_ng::to_string(&object).context("failed to write the rules")?;
    files.push((
        workspace.join("deploy/kubernetes/monitoring/prometheusrule.yaml"),
        format!("{HEAD}{text}"),
    ));
    Ok(files)
}

/// A group whose alerts name their runbooks by what `base` makes of their paths.
fn published(mut group: Value, base: &str) -> Value {
    let rules = group.get_mut("rules").and_then(Value::as_sequence_mut);
    for rule in rules.into_iter().flatten() {
        let annotations = rule.get_mut("annotations");
        if let Some(runbook) = annotations.and_then(|all| all.get_mut("runbook_url"))
            && let Some(path) = runbook.as_str()
        {
            *runbook = Value::String(format!("{base}{path}"));
        }
    }
    group
}
