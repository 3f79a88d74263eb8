//! Dashboard *Peers*: the worst peers and their problems.

use serde_json::json;

use crate::generate::grafana::{Dashboard, Panel, role_variable};

pub(super) fn dashboard() -> Dashboard {
    let peer = json!({
        "type": "textbox", "name": "peer", "label": "Peer (regular expression)", "query": ".*", "hide": 0,
        "current": { "text": ".*", "value": ".*" },
    });
    Dashboard::new(
        "reprise-peers",
        "Reprise / Peers",
        "Which peers return without resuming, how often, and why.",
        vec![role_variable(), peer],
        panels(),
    )
}

fn panels() -> Vec<Panel> {
    let mut panels = key_figures();
    panels.extend(tables());
    panels.extend(graphs());
    panels
}

fn key_figures() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Peers below 10 %",
            "Peers whose resumed share in the agent's window is below 10 %.",
            "none",
            r#"sum(reprise_peer_resume_ratio{%r,peer=~"$peer"} < bool 0.1)"#,
        )
        .alarm(1.0),
        Panel::stat(
            "Peers from 10 % to 40 %",
            "Peers whose resumed share is below the usual one of returning clients.",
            "none",
            r#"sum((reprise_peer_resume_ratio{%r,peer=~"$peer"} < bool 0.4) * (reprise_peer_resume_ratio{%r,peer=~"$peer"} >= bool 0.1))"#,
        ),
        Panel::stat(
            "Peers over 40 %",
            "Peers whose resumed share is usual for returning clients.",
            "none",
            r#"sum(reprise_peer_resume_ratio{%r,peer=~"$peer"} >= bool 0.4)"#,
        ),
        Panel::stat(
            "Peers with own series",
            "Peers in the agents' tables, both roles; all others are counted as other (--max-peers).",
            "none",
            r#"sum(reprise_tracked{%s,table="peers"})"#,
        ),
        Panel::stat(
            "Counted as other",
            "Share of handshakes whose peer was evicted from the table of peers.",
            "percentunit",
            r#"(sum(rate(reprise_peer_handshakes_total{%r,peer="other"}[%i])) or vector(0)) / sum(rate(reprise_peer_handshakes_total{%r}[%i]))"#,
        )
        .alarm(0.5),
        Panel::stat(
            "Peers that miss",
            "Peers whose missed share of offers exceeds --alert-miss-ratio.",
            "none",
            r#"sum(reprise_cache_miss_alert{%r,peer=~"$peer"}) or vector(0)"#,
        )
        .alarm(1.0),
    ]
}

fn tables() -> Vec<Panel> {
    vec![
        Panel::table(
            "Worst peers",
            "Peers with the lowest resumed share in the agent's window.",
            "percentunit",
            r#"sort(bottomk(50, reprise_peer_resume_ratio{%r,peer=~"$peer"}))"#,
            &["instance", "peer"],
            "Resumed",
        )
        .share()
        .sized(12, 12),
        Panel::table(
            "Most full handshakes",
            "Peers with the most full handshakes in the last hour, where resumption would save most.",
            "short",
            r#"sort_desc(topk(50, sum by (peer) (increase(reprise_peer_handshakes_total{%r,peer=~"$peer",resumption="full"}[1h]))))"#,
            &["peer"],
            "Full handshakes",
        )
        .sized(12, 12),
        Panel::table(
            "Missed offers by reason",
            "Missed offers of the last hour by peer; docs/operating.md has the remedy of each reason.",
            "short",
            r#"sort_desc(topk(50, sum by (peer, reason) (increase(reprise_peer_cache_misses_total{%r,peer=~"$peer"}[1h]))))"#,
            &["peer", "reason"],
            "Missed offers",
        )
        .sized(12, 10),
        Panel::table(
            "Failures by cause",
            "Failures of the last hour by peer.",
            "short",
            r#"sort_desc(topk(50, sum by (peer, cause) (increase(reprise_peer_handshake_failures_total{%r,peer=~"$peer"}[1h]))))"#,
            &["peer", "cause"],
            "Failures",
        )
        .sized(12, 10),
    ]
}

fn graphs() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Unknown external PSKs by peer",
            "Ten peers whose external pre-shared key the server does not know, or does not use.",
            "reqps",
        )
        .target(
            r#"topk(10, sum by (peer) (rate(reprise_peer_external_psk_total{%r,peer=~"$peer",outcome="missed"}[%i])) > 0) or vector(0)"#,
            "{{peer}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Resumed share of the ten busiest peers",
            "Resumed share; dashed lines mark 10 %, 40 % and 75 %.",
            "percentunit",
        )
        .target(
            r#"sum by (peer) (rate(reprise_peer_handshakes_total{%r,peer=~"$peer",resumption="resumed"}[%i])) / (topk(10, sum by (peer) (rate(reprise_peer_handshakes_total{%r,peer=~"$peer",resumption=~"full|resumed"}[%i]))) > 0)"#,
            "{{peer}}",
        )
        .share()
        .sized(12, 9),
        Panel::graph(
            "Handshakes of the ten busiest peers",
            "Completed handshakes of the ten busiest peers.",
            "reqps",
        )
        .target(
            r#"topk(10, sum by (peer) (rate(reprise_peer_handshakes_total{%r,peer=~"$peer"}[%i])))"#,
            "{{peer}}",
        )
        .sized(12, 9),
        Panel::graph(
            "Clients by the number of nodes that they reach",
            "Clients with at least two handshakes in an hour; 8 stands for 8 and more. A session is missed on each further node unless nodes share their ticket keys or their cache: docs/several-nodes.md.",
            "short",
        )
        .target(
            r#"count_values("nodes", clamp_max(count by (peer) (sum by (instance, peer) (increase(reprise_peer_handshakes_total{%s,role="server",peer!~"other|other-namespace|unknown",peer=~"$peer"}[1h])) > 0.5), 8) and on (peer) sum by (peer) (increase(reprise_peer_handshakes_total{%s,role="server",peer=~"$peer"}[1h])) > 1.5)"#,
            "{{nodes}} nodes",
        )
        .sized(24, 8),
    ]
}
