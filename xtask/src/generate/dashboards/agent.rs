//! *Agent*: what is observed and what is not, what was lost, and what observation costs.

use crate::generate::grafana::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "reprise-agent",
        "Reprise / Agent",
        "The observers themselves: coverage, probes, lost events, bounded tables and cost.",
        Vec::new(),
        panels(),
    )
}

fn panels() -> Vec<Panel> {
    let mut panels = numbers();
    panels.push(Panel::row("Coverage"));
    panels.extend(coverage());
    panels.push(Panel::row("Events and tables"));
    panels.extend(tables());
    panels.push(Panel::row("Cost"));
    panels.extend(cost());
    panels
}

fn numbers() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Agents",
            "Agents that answer.",
            "none",
            "count(reprise_build_info{%s})",
        ),
        Panel::stat(
            "Blind agents",
            "Agents that answer and observe no handshakes at all.",
            "none",
            "count(reprise_build_info{%s} unless on (cluster, instance) reprise_handshakes_total{%s}) or vector(0)",
        )
        .alarm(1.0),
        Panel::stat(
            "Broken probes",
            "Attach points that should work and do not.",
            "none",
            r#"sum(reprise_probe_attached{%s,verdict="broken"}) or vector(0)"#,
        )
        .alarm(1.0),
        Panel::stat(
            "Events lost",
            "Share of events that were lost, in the kernel or in the agent.",
            "percentunit",
            "sum(rate(reprise_events_lost_total{%s}[%i])) / (sum(rate(reprise_events_total{%s}[%i])) > 0)",
        )
        .alarm(0.001),
        Panel::stat(
            "Not observed",
            "Processes that speak TLS and are not observed.",
            "none",
            "sum(reprise_uncovered_processes{%s})",
        ),
        Panel::stat(
            "Evidence at odds",
            "Handshakes of the last hour of which wire and library disagree.",
            "none",
            "sum(increase(reprise_evidence_conflicts_total{%s}[1h]))",
        )
        .alarm(1.0),
    ]
}

fn coverage() -> Vec<Panel> {
    vec![
        Panel::table(
            "Observed libraries",
            "Distinct builds, and on how many nodes. wire: handshakes that only the wire shows.",
            "none",
            "sort_desc(count by (library, version, entry, evidence) (reprise_library_info{%s}))",
            &["library", "version", "entry", "evidence"],
            "Nodes",
        )
        .sized(12, 9),
        Panel::table(
            "Processes that are not observed",
            "By node and reason. /api/v1/libraries on the node names them and the remedy.",
            "none",
            "sort_desc(sum by (instance, reason) (reprise_uncovered_processes{%s}) > 0)",
            &["instance", "reason"],
            "Processes",
        )
        .sized(12, 9),
        Panel::table(
            "Probes",
            "Attach points per probe and verdict.",
            "none",
            "sort_desc(sum by (probe, verdict) (reprise_probe_attached{%s}))",
            &["probe", "verdict"],
            "Attach points",
        )
        .sized(12, 9),
        Panel::table(
            "Versions",
            "Agents by version.",
            "none",
            "count by (version) (reprise_build_info{%s})",
            &["version"],
            "Agents",
        )
        .sized(12, 9),
    ]
}

fn tables() -> Vec<Panel> {
    vec![
        Panel::graph("Events read", "By sensor.", "ops").target(
            "sum by (sensor) (rate(reprise_events_total{%s}[%i]))",
            "{{sensor}}",
        ),
        Panel::graph("Events lost", "By sensor; it should be nothing.", "ops").target(
            "sum by (sensor) (rate(reprise_events_lost_total{%s}[%i]))",
            "{{sensor}}",
        ),
        Panel::graph(
            "Entries dropped for room",
            "From bounded tables: peers go to other, connections lose their loss evidence.",
            "ops",
        )
        .target(
            "sum by (table) (rate(reprise_evictions_total{%s}[%i]))",
            "{{table}}",
        ),
        Panel::graph(
            "Table entries",
            "The largest of each table over the nodes.",
            "short",
        )
        .target("max by (table) (reprise_tracked{%s})", "{{table}}")
        .sized(12, 8),
        Panel::graph(
            "Clocks",
            "Nodes whose clock is not disciplined, and clocks set by hand within an hour: sessions die by the clock of the node that is asked.",
            "none",
        )
        .target("sum(reprise_clock_synchronized{%s} == bool 0)", "not synchronized")
        .target("sum(increase(reprise_clock_steps_total{%s}[1h]))", "jumps")
        .sized(12, 8),
    ]
}

fn cost() -> Vec<Panel> {
    vec![
        Panel::graph("Processor time of the agent", "Processors kept busy, per node.", "none").target(
            "rate(process_cpu_seconds_total{%s}[%i]) and on (cluster, instance) reprise_build_info{%s}",
            "{{instance}}",
        ),
        Panel::graph("Memory of the agent", "Resident, per node.", "bytes").target(
            "process_resident_memory_bytes{%s} and on (cluster, instance) reprise_build_info{%s}",
            "{{instance}}",
        ),
        Panel::graph(
            "Time in BPF programs",
            "Processors kept busy by each program; only where kernel.bpf_stats_enabled is 1, which itself costs time.",
            "none",
        )
        .target(
            "sum by (program) (rate(reprise_bpf_run_seconds_total{%s}[%i]))",
            "{{program}}",
        ),
        Panel::graph(
            "Time of one BPF run",
            "Mean, by program; only where kernel.bpf_stats_enabled is 1.",
            "s",
        )
        .target(
            "sum by (program) (rate(reprise_bpf_run_seconds_total{%s}[%i])) / (sum by (program) (rate(reprise_bpf_runs_total{%s}[%i])) > 0)",
            "{{program}}",
        )
        .sized(24, 8),
    ]
}
