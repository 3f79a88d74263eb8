//! The objects for the Prometheus operator, checked against the operator's own types.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reprise_tests::manifests::{deploy, documents, helm, tool, tools};
use reprise_tests::process::{PYTHON, fixture};
use serde_json::Value;

/// Returns the errors of the type check of these objects.
fn type_errors(objects: &[&Value]) -> String {
    let mut python = Command::new(PYTHON)
        .arg(fixture("prometheus_operator.py"))
        .arg(tools().join("operator"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("failed to start Python");
    let text = serde_json::to_vec(objects).expect("no JSON");
    let stdin = python.stdin.take().expect("no stdin");
    { stdin }.write_all(&text).expect("failed to write");
    let output = python.wait_with_output().expect("failed to wait");
    let errors = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(
        output.status.success(),
        errors.is_empty(),
        "{errors}: {}",
        output.status
    );
    errors
}

#[test]
fn the_operator_knows_every_field() {
    let kustomized = tool("kubectl")
        .arg("kustomize")
        .arg(deploy("kubernetes/monitoring"))
        .output()
        .expect("failed to start kubectl");
    let kustomized = documents(&kustomized);
    let charted = documents(&helm(&[
        r#"podMonitor={"enabled":true,"labels":{"release":"prometheus"},"tlsConfig":{"serverName":"reprise"}}"#,
        "prometheusRule.enabled=true",
        "webConfig.tls=true",
    ]));
    let endpoint = &charted["PodMonitor"]["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["scheme"], "https");
    assert_eq!(endpoint["tlsConfig"]["serverName"], "reprise");
    let kinds = ["PodMonitor", "PrometheusRule"];
    let objects: Vec<_> = [&kustomized, &charted]
        .into_iter()
        .flat_map(|documents| kinds.map(|kind| &documents[kind]))
        .collect();
    assert_eq!(type_errors(&objects), "");
}

#[test]
fn an_unknown_field_is_detected() {
    let charted = documents(&helm(&["podMonitor.enabled=true"]));
    let monitor = &charted["PodMonitor"];
    let text = monitor.to_string();
    for (right, wrong) in [
        ("sourceLabels", "sourceLabel"),
        ("\"30s\"", "30"),
        ("podMetricsEndpoints", "endpoints"),
    ] {
        assert!(text.contains(right), "{text}");
        let wrong = serde_json::from_str(&text.replace(right, wrong)).expect("no JSON");
        assert_ne!(type_errors(&[&wrong]), "", "{wrong}");
    }
}
