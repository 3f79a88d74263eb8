//! The Prometheus rules, read and run by promtool, and as deployed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use reprise_tests::manifests::{deploy, tool};
use reprise_tests::prometheus::dashboards;
use serde_json::Value;
use tempfile::TempDir;

const FILES: [&str; 2] = ["recording.yaml", "alerts.yaml"];

fn promtool(words: &[&str], files: &[PathBuf]) -> Output {
    Command::new("promtool")
        .args(words)
        .args(files)
        .output()
        .expect("failed to start promtool")
}

fn output_text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}

fn tests() -> Vec<PathBuf> {
    let entries = fs::read_dir(dashboards("rules/tests")).expect("failed to list the tests");
    entries.flatten().map(|entry| entry.path()).collect()
}

#[test]
fn prometheus_accepts_the_rules() {
    let files = FILES.map(|name| dashboards("rules").join(name));
    let output = promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
    assert!(output.status.success(), "{}", output_text(&output));
}

#[test]
fn alerts_fire_only_for_their_condition() {
    let output = promtool(&["test", "rules"], &tests());
    assert!(output.status.success(), "{}", output_text(&output));
    // The same tests detect an alert with a wrong threshold.
    let directory = TempDir::new().expect("failed to create a directory");
    let at = |name: &str| directory.path().join(name);
    for name in FILES {
        let text =
            fs::read_to_string(dashboards("rules").join(name)).expect("failed to read rules");
        fs::write(at(name), text.replace("< 0.1\n", "< 0.01\n")).expect("failed to write rules");
    }
    let test = fs::read_to_string(dashboards("rules/tests/resumption.yaml")).expect("no test");
    fs::write(at("test.yaml"), test.replace("../", "")).expect("failed to write a test");
    let output = promtool(&["test", "rules"], &[at("test.yaml")]);
    assert!(!output.status.success(), "{}", output_text(&output));
    assert!(
        output_text(&output).contains("RepriseResumptionCollapsed"),
        "{}",
        output_text(&output)
    );
}

fn documents(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("failed to start the tool");
    assert!(output.status.success(), "{}", output_text(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_saphyr::from_multiple(&text).expect("no YAML")
}

/// Groups of the rule files.
fn groups() -> Vec<Value> {
    let mut groups = Vec::new();
    for name in FILES {
        let text =
            fs::read_to_string(dashboards("rules").join(name)).expect("failed to read rules");
        let file: Value = serde_saphyr::from_str(&text).expect("no YAML");
        groups.extend(
            file["groups"]
                .as_array()
                .expect("no groups")
                .iter()
                .cloned(),
        );
    }
    groups
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    documents
        .iter()
        .find(|document| document["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn the_operator_object_has_the_same_rules() {
    let monitoring = deploy("kubernetes/monitoring");
    let kustomized = documents(tool("kubectl").arg("kustomize").arg(monitoring));
    let mut charted = tool("helm");
    charted
        .args(["template", "edge"])
        .arg(deploy("helm/reprise"));
    charted.args([
        "--set",
        "podMonitor.enabled=true,prometheusRule.enabled=true",
    ]);
    let charted = documents(&mut charted);
    for documents in [&kustomized, &charted] {
        let rule = of_kind(documents, "PrometheusRule");
        assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
        assert_eq!(rule["spec"]["groups"], Value::Array(groups()));
        let monitor = of_kind(documents, "PodMonitor");
        assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
        let relabeled = &monitor["spec"]["podMetricsEndpoints"][0]["relabelings"];
        assert_eq!(relabeled[0]["targetLabel"], "instance");
    }
    // It selects the pods of the same chart.
    let selector = &of_kind(&charted, "PodMonitor")["spec"]["selector"]["matchLabels"];
    let labels = &of_kind(&charted, "DaemonSet")["spec"]["template"]["metadata"]["labels"];
    for (name, value) in selector.as_object().expect("no selector") {
        assert_eq!(&labels[name], value);
    }
}

#[test]
fn the_chart_prefixes_runbook_urls() {
    let mut helm = tool("helm");
    helm.args(["template", "edge"]).arg(deploy("helm/reprise"));
    helm.args(["--set", "prometheusRule.enabled=true"]);
    helm.args([
        "--set",
        "prometheusRule.runbookBase=https://wiki.example/reprise/",
    ]);
    let documents = documents(&mut helm);
    let text = of_kind(&documents, "PrometheusRule").to_string();
    let runbooks = text.matches("runbook_url").count();
    assert!(runbooks > 10, "{runbooks}");
    let based = "\"runbook_url\":\"https://wiki.example/reprise/docs/runbooks/Reprise";
    assert_eq!(text.matches(based).count(), runbooks);
}
