//! `docs/metrics.md`: every metric family with its labels and their values, from the page that the
//! agent's unit tests compare with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

/// Expected metrics page of the agent's unit tests.
const PAGE: &str = "agent/src/views/metrics/golden.txt";

/// Labels with an open set of values, and a description of the values.
const OPEN: &[(&str, &str)] = &[
    (
        "peer",
        "network, address with port, or group of the peer file; `unknown`, `other`, `other-namespace`",
    ),
    (
        "library",
        "file name; `wire` for handshakes seen in packets only",
    ),
    ("entry", "function to which the probes are attached"),
    ("evidence", "how the attach points were found"),
    (
        "key",
        "first 8 hex digits of the SHA-256 of the key name; `other`",
    ),
    (
        "namespace",
        "Kubernetes namespace; empty elsewhere, `other`",
    ),
    ("pod", "Kubernetes pod; empty elsewhere, `other`"),
    (
        "container",
        "name in the pod, or the first 12 digits of the ID; empty outside containers, `other`",
    ),
    (
        "workload",
        "Deployment, StatefulSet, DaemonSet, Job, CronJob or bare pod; elsewhere systemd unit or process; `unknown`, `other`",
    ),
    (
        "port",
        "port of the server; `ephemeral`, `unknown`, `other`",
    ),
    ("program", "BPF program"),
    ("probe", "BPF program and its attach point"),
    ("le", "upper bound"),
];

/// Values of labels of which the test page has only some: family (empty for all families), label
/// and values.
const VALUES: &[(&str, &str, &str)] = &[
    (
        "reprise_handshake_errors_total",
        "reason",
        "name of the library's error reason; `reason_N` for a number without a name; `other`",
    ),
    (
        "reprise_alerts_after_completion_total",
        "alert",
        "name of the alert; `other` for a number without a name",
    ),
    (
        "reprise_probe_attached",
        "verdict",
        "`attached` `broken` `not_applicable` `unsupported`",
    ),
    ("", "role", "`client` `server`"),
    (
        "",
        "resumption",
        "`full` `resumed`; `unknown` where it has occurred",
    ),
];

/// Labels with the corresponding attributes of OpenTelemetry's semantic conventions.
const OPEN_TELEMETRY: &[(&str, &str, &str)] = &[
    (
        "version",
        "`tls.protocol.version`",
        "for handshakes; with `tls.protocol.name` = `tls`",
    ),
    (
        "resumption",
        "`tls.resumed`",
        "`resumed` is true, `full` is false, `unknown` is omitted",
    ),
    (
        "peer",
        "`client.address`; `server.address` and `server.port`",
        "if `role` is `server`; if it is `client`",
    ),
    ("cause", "`error.type`", "for failed handshakes"),
    (
        "reason",
        "`error.type`",
        "for library errors; miss reasons have no counterpart",
    ),
    (
        "workload",
        "`k8s.deployment.name` and those of other controllers, `service.name`, `process.executable.name`",
        "depends on the source of the name",
    ),
    ("namespace", "`k8s.namespace.name`", ""),
    ("pod", "`k8s.pod.name`", ""),
    (
        "container",
        "`k8s.container.name`, `container.id`",
        "shortened",
    ),
    ("port", "`server.port`", ""),
    (
        "instance",
        "`host.name`, `k8s.node.name`",
        "set by Prometheus, not by the agent",
    ),
    (
        "cluster",
        "`k8s.cluster.name`",
        "set by Prometheus, not by the agent",
    ),
    (
        "role",
        "none",
        "OpenTelemetry distinguishes client and server spans by span kind",
    ),
    ("mechanism", "none", ""),
    ("outcome", "none", ""),
];

/// One metric family.
#[derive(Default)]
pub(super) struct Family {
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Returns the families by their Prometheus names; histograms by their base name.
pub(super) fn families(workspace: &Path) -> Result<BTreeMap<String, Family>> {
    let path = workspace.join(PAGE);
    let page =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(parse(&page))
}

fn parse(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut help = String::new();
    let mut name = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            rest.split_once(' ')
                .unwrap_or_default()
                .1
                .clone_into(&mut help);
        } else if let Some((base, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            name = match kind {
                "counter" => format!("{base}_total"),
                "info" => format!("{base}_info"),
                _ => base.to_owned(),
            };
            let family = families.entry(name.clone()).or_default();
            family.help.clone_from(&help);
            kind.clone_into(&mut family.kind);
        } else if !line.starts_with('#')
            && let Some((_, rest)) = line.split_once('{')
            && let Some((labels, _)) = rest.rsplit_once('}')
            && let Some(family) = families.get_mut(&name)
        {
            for pair in labels.split("\",") {
                if let Some((label, value)) = pair.split_once("=\"") {
                    let values = family.labels.entry(label.to_owned()).or_default();
                    values.insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
    }
    families
}

/// Returns the text of the reference.
pub(super) fn text(workspace: &Path) -> Result<String> {
    let mut text = String::from(
        "<!-- Generated by `cargo xtask generate`: change the code, not this file. -->\n\
         # Metrics\n\n\
         Names are those that Prometheus stores. A family whose sensor is not attached is absent, never a\n\
         false zero. Per-peer families contain only label values that have occurred.\n\
         [operating.md](operating.md) explains how to read the metrics, [fleet.md](fleet.md) how many series\n\
         there are.\n\n",
    );
    let families = families(workspace)?;
    for (name, family) in &families {
        let _ = writeln!(
            text,
            "## `{name}`\n\n{}\n\nType: {}\n",
            family.help, family.kind
        );
        if family.labels.is_empty() {
            continue;
        }
        text.push_str("| label | values |\n|---|---|\n");
        // The test page has only some values per peer; the family over all peers has every value.
        let whole = match name.as_str() {
            "reprise_cache_miss_alert" => "reprise_cache_misses_total".to_owned(),
            name => name.replace("_peer_", "_"),
        };
        let sums = families.get(&whole);
        for (label, values) in &family.labels {
            let values = sums
                .and_then(|sums| sums.labels.get(label))
                .unwrap_or(values);
            let _ = writeln!(text, "| `{label}` | {} |", values_of(name, label, values));
        }
        text.push('\n');
    }
    text.push_str(
        "## Process metrics\n\n\
         `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`,\n\
         `process_start_time_seconds` and `process_open_fds`, as in the Prometheus client libraries.\n\n\
         ## OpenTelemetry\n\n\
         Attributes of OpenTelemetry's semantic conventions that correspond to the labels:\n\n\
         | label | attribute | remark |\n|---|---|---|\n",
    );
    for (label, attribute, remark) in OPEN_TELEMETRY {
        let _ = writeln!(text, "| `{label}` | {attribute} | {remark} |");
    }
    Ok(text)
}

fn values_of(family: &str, label: &str, values: &BTreeSet<String>) -> String {
    // In info families the label is a release, not the version of the protocol.
    if label == "version" && family.ends_with("_info") {
        return "release of the library or agent".to_owned();
    }
    let listed =
        |(of, name, _): &&(&str, &str, &str)| *name == label && (of.is_empty() || *of == family);
    if let Some((_, _, values)) = VALUES.iter().find(listed) {
        return (*values).to_owned();
    }
    if let Some((_, what)) = OPEN.iter().find(|(open, _)| *open == label) {
        return (*what).to_owned();
    }
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    values.join(" ")
}
