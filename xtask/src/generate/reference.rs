//! `docs/metrics.md`: every family as the agent's own test page has it, with its labels and their values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

/// The page that the agent's unit tests hold it to.
const PAGE: &str = "agent/src/views/metrics/golden.txt";

/// Labels whose values are not a closed set: what they are.
const OPEN: &[(&str, &str)] = &[
    (
        "peer",
        "network, address with port, or a group of the peer file; `unknown`, `other`",
    ),
    ("library", "file name; `wire` where only the wire tells"),
    ("entry", "how the handshake is hooked"),
    ("evidence", "what the finding rests on"),
    (
        "key",
        "first 8 hex digits of the SHA-256 of the key's name; `other`",
    ),
    ("workload", "pod, systemd unit or process name; `other`"),
    ("port", "port of the service"),
    ("program", "BPF program"),
    ("probe", "BPF program and what it sits on"),
    ("le", "upper bound, seconds"),
];

/// Labels by the name that OpenTelemetry's semantic conventions have for the same thing.
const OPEN_TELEMETRY: &[(&str, &str, &str)] = &[
    (
        "version",
        "`tls.protocol.version`",
        "of handshakes; with `tls.protocol.name` = `tls`",
    ),
    (
        "resumption",
        "`tls.resumed`",
        "`resumed` is true, `full` is false, `unknown` is left out",
    ),
    (
        "peer",
        "`client.address`; `server.address` and `server.port`",
        "where `role` is `server`; where it is `client`",
    ),
    ("cause", "`error.type`", "of failed handshakes"),
    (
        "reason",
        "`error.type`",
        "of library errors; miss reasons have no counterpart",
    ),
    (
        "workload",
        "`k8s.pod.name`, `service.name`, `process.executable.name`",
        "whichever of them named it",
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
        "OpenTelemetry tells client and server spans apart by their kind",
    ),
    ("mechanism", "none", ""),
    ("outcome", "none", ""),
];

/// One family.
#[derive(Default)]
pub(super) struct Family {
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Families by the name under which Prometheus stores them; histograms by their base name.
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

/// The reference.
pub(super) fn text(workspace: &Path) -> Result<String> {
    let mut text = String::from(
        "<!-- Written by `cargo xtask generate` from the page of the agent's own tests: change the code, not this file. -->\n\
         # Metrics\n\n\
         Names as Prometheus stores them. A family whose sensor is not attached is absent, never a false zero; per-peer families\n\
         show what has happened only. [operating.md](operating.md) says how to read them, [fleet.md](fleet.md) how many series they are.\n\n",
    );
    let families = families(workspace)?;
    for (name, family) in &families {
        let _ = writeln!(text, "## `{name}`\n\n{} ({})\n", family.help, family.kind);
        if family.labels.is_empty() {
            continue;
        }
        text.push_str("| label | values |\n|---|---|\n");
        // Per peer only what has happened is shown: the sums over all peers know every value.
        let sums = families.get(&name.replace("_peer_", "_"));
        for (label, values) in &family.labels {
            let values = sums
                .and_then(|sums| sums.labels.get(label))
                .unwrap_or(values);
            let _ = writeln!(text, "| `{label}` | {} |", values_of(name, label, values));
        }
        text.push('\n');
    }
    text.push_str(
        "## Of the process\n\n\
         `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_start_time_seconds`\n\
         and `process_open_fds`, as Prometheus' own client libraries have them.\n\n\
         ## OpenTelemetry\n\n\
         The attribute of OpenTelemetry's semantic conventions that says the same, for whoever translates:\n\n\
         | label | attribute | |\n|---|---|---|\n",
    );
    for (label, attribute, remark) in OPEN_TELEMETRY {
        let _ = writeln!(text, "| `{label}` | {attribute} | {remark} |");
    }
    Ok(text)
}

fn values_of(family: &str, label: &str, values: &BTreeSet<String>) -> String {
    // Releases of a library, or of the agent: not those of the protocol.
    if label == "version" && family.ends_with("_info") {
        return "as it calls itself".to_owned();
    }
    if let Some((_, what)) = OPEN.iter().find(|(open, _)| *open == label) {
        return (*what).to_owned();
    }
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    values.join(" ")
}
