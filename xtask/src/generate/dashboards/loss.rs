//! *Loss and failures*: which handshakes do not complete, of what, and what the network did meanwhile.

use crate::generate::grafana::{Dashboard, Panel, role};

/// Failed share.
const FAILED: &str = "sum(rate(reprise_handshake_failures_total{%r}[%i])) / (sum(rate(reprise_handshake_failures_total{%r}[%i])) + sum(rate(reprise_handshakes_total{%r}[%i])))";
/// Share of handshakes that met a retransmission.
const WITH_LOSS: &str = "sum(rate(reprise_handshakes_with_loss_total{%r}[%i])) / (sum(rate(reprise_handshake_failures_total{%r}[%i])) + sum(rate(reprise_handshakes_total{%r}[%i])))";

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "reprise-loss",
        "Reprise / Loss and failures",
        "Handshakes that did not complete, by cause, and the retransmissions that fell into connection set-up and handshake. Loss is said to have co-occurred with a failure, not to have caused it.",
        vec![role()],
        panels(),
    )
}

fn panels() -> Vec<Panel> {
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
            "Failures with packet loss on their connection, per second.",
            "reqps",
            r#"sum(rate(reprise_handshake_failures_total{%r,cause="packet_loss"}[%i]))"#,
        ),
        Panel::stat(
            "Refused by alert",
            "Failures by an alert, sent or received, per second.",
            "reqps",
            r#"sum(rate(reprise_handshake_failures_total{%r,cause=~"alert_sent|alert_received"}[%i]))"#,
        ),
        Panel::stat(
            "Met loss",
            "Share of all handshakes that met at least one retransmission.",
            "percentunit",
            WITH_LOSS,
        )
        .alarm(0.05),
        Panel::stat(
            "Survived loss",
            "Share of the handshakes with loss that completed all the same.",
            "percentunit",
            r#"sum(increase(reprise_handshakes_with_loss_total{%r,outcome="completed"}[1h])) / (sum(increase(reprise_handshakes_with_loss_total{%r}[1h])) > 0)"#,
        ),
        Panel::stat(
            "Retransmissions",
            "In connection set-up and handshake, per second.",
            "pps",
            "sum(rate(reprise_handshake_retransmits_total{%r}[%i]))",
        ),
        Panel::graph(
            "Failures by cause",
            "Exactly one cause each; an alert beats loss.",
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
            "The fifteen commonest, as OpenSSL names them.",
            "reqps",
        )
        .target(
            "topk(15, sum by (reason) (rate(reprise_handshake_errors_total{%r}[%i])))",
            "{{reason}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Retransmissions by phase",
            "syn and synack: while the connection was set up. received: those of the peer.",
            "pps",
        )
        .target(
            "sum by (phase, direction) (rate(reprise_handshake_retransmits_total{%r}[%i]))",
            "{{phase}} {{direction}}",
        )
        .stacked()
        .sized(12, 9),
        Panel::graph(
            "Handshakes that met loss",
            "By how they ended.",
            "reqps",
        )
        .target(
            "sum by (outcome) (rate(reprise_handshakes_with_loss_total{%r}[%i]))",
            "{{outcome}}",
        )
        .stacked()
        .sized(12, 9),
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
            "A node that stands out has its own network or certificate.",
            "percentunit",
            "sort_desc(sum by (cluster, instance) (rate(reprise_handshake_failures_total{%r}[5m])) / (sum by (cluster, instance) (rate(reprise_handshake_failures_total{%r}[5m])) + sum by (cluster, instance) (rate(reprise_handshakes_total{%r}[5m]))))",
            &["cluster", "instance"],
            "Failed",
        )
        .sized(12, 9),
        Panel::graph(
            "Slow handshakes",
            "Share of completed handshakes that took longer than a second: a retransmission timeout, at the least.",
            "percentunit",
        )
        .target(
            r#"1 - sum by (resumption) (rate(reprise_handshake_duration_seconds_bucket{%r,le=~"1|1.0"}[%i])) / (sum by (resumption) (rate(reprise_handshake_duration_seconds_count{%r}[%i])) > 0)"#,
            "{{resumption}}",
        )
        .sized(24, 8),
    ]
}
