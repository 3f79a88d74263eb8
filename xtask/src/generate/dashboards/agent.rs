//! Dashboard *Agent*: coverage, lost events, bounded tables and cost of the agents.

use crate::generate::grafana::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "reprise-agent",
        "Reprise / Agent",
        "Coverage, probes, lost events, bounded tables and cost of the agents.",
        Vec::new(),
        panels(),
    )
}

fn panels() -> Vec<Panel> {
    let mut panels = key_figures();
    panels.push(Panel::row("Coverage"));
    panels.extend(coverage());
    panels.push(Panel::row("Events and tables"));
    panels.extend(tables());
    panels.push(Panel::row("Cost"));
    panels.extend(cost());
    panels
}

fn key_figures() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Agents",
            "Number of agents that answer.",
            "none",
            "count(reprise_build_info{%s})",
        ),
        Panel::stat(
            "Blind agents",
            "Agents that answer but observe no handshakes.",
            "none",
            "count(reprise_build_info{%s} unless on (cluster, instance) reprise_handshakes_total{%s}) or vector(0)",
        )
        .alarm(1.0),
        Panel::stat(
            "Broken probes",
            "Attach points that the kernel should support but rejected.",
            "none",
            r#"sum(reprise_probe_attached{%s,verdict="broken"}) or vector(0)"#,
        )
        .alarm(1.0),
        Panel::stat(
            "Events lost",
            "Share of events lost in the kernel or in the agent.",
            "percentunit",
            "sum(rate(reprise_events_lost_total{%s}[%i])) / (sum(rate(reprise_events_total{%s}[%i])) > 0)",
        )
        .alarm(0.001),
        Panel::stat(
            "Not observed",
            "Processes that use TLS and are not observed.",
            "none",
            "sum(reprise_uncovered_processes{%s})",
        ),
        Panel::stat(
            "Contradicting evidence",
            "Handshakes of the last hour for which packets and library disagree.",
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
            "Number of nodes per library build; wire stands for handshakes seen in packets only.",
            "none",
            "sort_desc(count by (library, version, entry, evidence) (reprise_library_info{%s}))",
            &["library", "version", "entry", "evidence"],
            "Nodes",
        )
        .sized(12, 9),
        Panel::table(
            "Processes that are not observed",
            "Processes by node and reason; /api/v1/libraries on the node lists them with a remedy.",
            "none",
            "sort_desc(sum by (instance, reason) (reprise_uncovered_processes{%s}) > 0)",
            &["instance", "reason"],
            "Processes",
        )
        .sized(12, 9),
        Panel::table(
            "Probes",
            "Attach points by probe and verdict.",
            "none",
            "sort_desc(sum by (probe, verdict) (reprise_probe_attached{%s}))",
            &["probe", "verdict"],
            "Attach points",
        )
        .sized(12, 9),
        Panel::table(
            "Versions",
            "Number of agents by version.",
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
        Panel::graph("Events read", "Events read per sensor.", "ops").target(
            "sum by (sensor) (rate(reprise_events_total{%s}[%i]))",
            "{{sensor}}",
        ),
        Panel::graph("Events lost", "Events lost per sensor; should be zero.", "ops").target(
            "sum by (sensor) (rate(reprise_events_lost_total{%s}[%i]))",
            "{{sensor}}",
        ),
        Panel::graph(
            "Evicted table entries",
            "Evictions from bounded tables: evicted peers are counted as other, evicted connections lose their loss evidence. Forgotten entries had no handshake for long; their series end.",
            "ops",
        )
        .target(
            "sum by (table) (rate(reprise_evictions_total{%s}[%i]))",
            "{{table}}",
        )
        .target(
            "sum by (table) (rate(reprise_forgotten_total{%s}[%i]))",
            "{{table}} forgotten",
        ),
        Panel::graph(
            "Table entries",
            "Largest number of entries of each table over all nodes.",
            "short",
        )
        .target("max by (table) (reprise_tracked{%s})", "{{table}}")
        .sized(12, 8),
        Panel::graph(
            "Clocks",
            "Nodes whose clock is not synchronized, and clock steps within an hour; sessions expire by the clock of the node that receives them.",
            "none",
        )
        .target("sum(reprise_clock_synchronized{%s} == bool 0)", "not synchronized")
        .target("sum(increase(reprise_clock_steps_total{%s}[1h]))", "steps")
        .sized(12, 8),
    ]
}

fn cost() -> Vec<Panel> {
    vec![
        Panel::graph("CPU time of the agent", "CPU seconds per second, by node.", "none").target(
            "rate(process_cpu_seconds_total{%s}[%i]) and on (cluster, instance) reprise_build_info{%s}",
            "{{instance}}",
        ),
        Panel::graph("Memory of the agent", "Resident memory by node.", "bytes").target(
            "process_resident_memory_bytes{%s} and on (cluster, instance) reprise_build_info{%s}",
            "{{instance}}",
        ),
        Panel::graph(
            "Time in BPF programs",
            "CPU seconds per second by program; needs kernel.bpf_stats_enabled=1, which itself costs CPU time.",
            "none",
        )
        .target(
            "sum by (program) (rate(reprise_bpf_run_seconds_total{%s}[%i]))",
            "{{program}}",
        ),
        Panel::graph(
            "Time of one BPF run",
            "Mean run time by program; needs kernel.bpf_stats_enabled=1.",
            "s",
        )
        .target(
            "sum by (program) (rate(reprise_bpf_run_seconds_total{%s}[%i])) / (sum by (program) (rate(reprise_bpf_runs_total{%s}[%i])) > 0)",
            "{{program}}",
        )
        .sized(24, 8),
    ]
}
