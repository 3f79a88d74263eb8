//! Dashboard *Loss and failures*: failed handshakes by cause, and packet loss during handshakes.

use crate::generate::grafana::{Dashboard, Panel, role_variable};

/// Failed share of all handshakes.
const FAILED: &str = "sum(rate(reprise_handshake_failures_total{%r}[%i])) / (sum(rate(reprise_handshake_failures_total{%r}[%i])) + sum(rate(reprise_handshakes_total{%r}[%i])))";
/// Share of handshakes with at least one retransmission.
const WITH_LOSS: &str = "sum(rate(reprise_handshakes_with_loss_total{%r}[%i])) / (sum(rate(reprise_handshake_failures_total{%r}[%i])) + sum(rate(reprise_handshakes_total{%r}[%i])))";

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "reprise-loss",
        "Reprise / Loss and failures",
        "Failed handshakes by cause, and retransmissions during connection set-up and handshake. Loss co-occurred with a failure; it is not claimed to be the cause.",
        vec![role_variable()],
        panels(),
    )
}

fn panels() -> Vec<Panel> {
    let mut panels = key_figures();
    panels.extend(graphs());
    panels.extend(tables());
    panels
}

fn key_figures() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Failed share",
            "Share of handshakes that did not complete.",
            "percentunit",
            FAILED,
        )
        .alarm(0.05),
        Panel::stat(
            "Failed with loss",
            "Failures per second with packet loss on their connection.",
            "reqps",
            r#"sum(rate(reprise_handshake_failures_total{%r,cause="packet_loss"}[%i]))"#,
        ),
        Panel::stat(
            "Failed with an alert",
            "Failures per second that end with a TLS alert, sent or received.",
            "reqps",
            r#"sum(rate(reprise_handshake_failures_total{%r,cause=~"alert_sent|alert_received"}[%i]))"#,
        ),
        Panel::stat(
            "With loss",
            "Share of all handshakes with at least one retransmission.",
            "percentunit",
            WITH_LOSS,
        )
        .alarm(0.05),
        Panel::stat(
            "Completed with loss",
            "Share of the handshakes with loss that completed.",
            "percentunit",
            r#"sum(increase(reprise_handshakes_with_loss_total{%r,outcome="completed"}[1h])) / (sum(increase(reprise_handshakes_with_loss_total{%r}[1h])) > 0)"#,
        ),
        Panel::stat(
            "Retransmissions",
            "Retransmissions per second during connection set-up and handshake.",
            "pps",
            "sum(rate(reprise_handshake_retransmits_total{%r}[%i]))",
        ),
    ]
}

fn graphs() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Failures by cause",
            "Failed handshakes by cause; an alert takes precedence over packet loss.",
            "reqps",
        )
        .target(
            "sum by (cause) (rate(reprise_handshake_failures_total{%r}[%i]))",
            "{{cause}}",
        )
        .stacked()
        .sized(12, 9),
        Panel::graph(
            "Error reasons of the library",
            "The fifteen most frequent error reasons, with OpenSSL's names.",
            "reqps",
        )
        .target(
            "topk(15, sum by (reason) (rate(reprise_handshake_errors_total{%r}[%i])))",
            "{{reason}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Alerts after completion",
            "TLS 1.3: fatal alerts right after a completed handshake, for example a client certificate that the server rejects after the client's Finished.",
            "reqps",
        )
        .target(
            "sum by (alert) (rate(reprise_alerts_after_completion_total{%r}[%i]))",
            "{{alert}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Retransmissions by phase",
            "syn and synack are retransmissions during connection set-up; received ones come from the peer.",
            "pps",
        )
        .target(
            "sum by (phase, direction) (rate(reprise_handshake_retransmits_total{%r}[%i]))",
            "{{phase}} {{direction}}",
        )
        .stacked()
        .sized(12, 9),
        Panel::graph(
            "Ends of connections",
            "TLS connections by how they ended: timed_out is a peer that no longer answered, reset_sent one that a program on the node dropped.",
            "reqps",
        )
        .target(
            "sum by (end) (rate(reprise_connection_lifetime_seconds_count{%r}[%i]))",
            "{{end}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Lifetime of connections",
            "Median time from the beginning of the handshake to the end of the connection, by how it ended.",
            "s",
        )
        .target(
            "histogram_quantile(0.5, sum by (end, le) (rate(reprise_connection_lifetime_seconds_bucket{%r}[%i])))",
            "{{end}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Handshakes with loss",
            "Handshakes with at least one retransmission, by outcome.",
            "reqps",
        )
        .target(
            "sum by (outcome) (rate(reprise_handshakes_with_loss_total{%r}[%i]))",
            "{{outcome}}",
        )
        .stacked()
        .sized(12, 9),
    ]
}

fn tables() -> Vec<Panel> {
    vec![
        Panel::table(
            "Peers that fail",
            "Failures of the last hour by peer and cause.",
            "short",
            "sort_desc(topk(50, sum by (peer, cause) (increase(reprise_peer_handshake_failures_total{%r}[1h]))))",
            &["peer", "cause"],
            "Failures",
        )
        .sized(12, 9),
        Panel::table(
            "Failed share by node",
            "Failed share of each node; compare network and certificate of a node that differs.",
            "percentunit",
            "sort_desc(sum by (cluster, instance) (rate(reprise_handshake_failures_total{%r}[5m])) / (sum by (cluster, instance) (rate(reprise_handshake_failures_total{%r}[5m])) + sum by (cluster, instance) (rate(reprise_handshakes_total{%r}[5m]))))",
            &["cluster", "instance"],
            "Failed",
        )
        .sized(12, 9),
        Panel::graph(
            "Slow handshakes",
            "Share of completed handshakes that took longer than one second, the usual first retransmission timeout.",
            "percentunit",
        )
        .target(
            r#"1 - sum by (resumption) (rate(reprise_handshake_duration_seconds_bucket{%r,le=~"1|1.0"}[%i])) / (sum by (resumption) (rate(reprise_handshake_duration_seconds_count{%r}[%i])) > 0)"#,
            "{{resumption}}",
        )
        .sized(12, 9),
    ]
}
