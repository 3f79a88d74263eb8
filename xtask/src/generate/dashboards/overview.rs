//! *Resumption overview*: the fleet's ratio, who offers what, why it is missed, and what that costs.

use crate::generate::grafana::{Dashboard, Panel, asked, role};

/// Resumed share of the handshakes of which it is known.
const RESUMED: &str = r#"sum(rate(reprise_handshakes_total{%r,resumption="resumed"}[%i])) / sum(rate(reprise_handshakes_total{%r,resumption=~"full|resumed"}[%i]))"#;
/// Accepted share of the offers: the ratio of clients that return with a session.
const ACCEPTED: &str = r#"sum(rate(reprise_resumption_offers_total{%r,outcome="accepted"}[%i])) / sum(rate(reprise_resumption_offers_total{%r}[%i]))"#;
/// Share of clients that offer a session at all.
const OFFERING: &str = r#"sum(rate(reprise_resumption_offers_total{%r}[%i])) / (sum(rate(reprise_resumption_offers_total{%r}[%i])) + sum(rate(reprise_resumption_not_offered_total{%r}[%i])))"#;
/// What one full handshake costs more than a resumed one, times the offers missed: CPU seconds per second.
const COST: &str = r#"sum(rate(reprise_resumption_offers_total{%r,outcome="missed"}[%i])) * clamp_min(sum(rate(reprise_handshake_library_seconds_total{%r,resumption="full"}[%i])) / sum(rate(reprise_handshakes_total{%r,resumption="full"}[%i])) - sum(rate(reprise_handshake_library_seconds_total{%r,resumption="resumed"}[%i])) / sum(rate(reprise_handshakes_total{%r,resumption="resumed"}[%i])), 0)"#;

pub(super) fn dashboard() -> Dashboard {
    let workload = asked(
        "workload",
        "Workload",
        r#"label_values(reprise_workload_handshakes_total{cluster=~"$cluster",instance=~"$node"}, workload)"#,
    );
    Dashboard::new(
        "reprise-overview",
        "Reprise / Resumption overview",
        "How many TLS handshakes resume a session, which offers are missed and why, and what that costs. A healthy share for returning clients is 40 % to 75 %.",
        vec![role(), workload],
        panels(),
    )
}

fn panels() -> Vec<Panel> {
    let mut panels = numbers();
    panels.extend(resumption());
    panels.push(Panel::row("Why offers are missed"));
    panels.extend(misses());
    panels.push(Panel::row("What it costs"));
    panels.extend(cost());
    panels.push(Panel::row("Where"));
    panels.extend(places());
    panels
}

fn numbers() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Resumed share",
            "Resumed share of all completed handshakes. Low here and high beside it means that clients offer nothing.",
            "percentunit",
            RESUMED,
        )
        .share(),
        Panel::stat(
            "Offers accepted",
            "Share of offered sessions that the server took: the ratio for returning clients.",
            "percentunit",
            ACCEPTED,
        )
        .share(),
        Panel::stat(
            "Clients that offer",
            "Share of completed handshakes whose ClientHello offered a session.",
            "percentunit",
            OFFERING,
        )
        .share(),
        Panel::stat(
            "Handshakes",
            "Completed handshakes per second.",
            "reqps",
            "sum(rate(reprise_handshakes_total{%r}[%i]))",
        ),
        Panel::stat(
            "Failed share",
            "Share of handshakes that did not complete. The dashboard Loss and failures says of what.",
            "percentunit",
            "sum(rate(reprise_handshake_failures_total{%r}[%i])) / (sum(rate(reprise_handshake_failures_total{%r}[%i])) + sum(rate(reprise_handshakes_total{%r}[%i])))",
        )
        .alarm(0.05),
        Panel::stat(
            "Not observed",
            "Processes that speak TLS and are not observed. The dashboard Agent says why.",
            "none",
            "sum(reprise_uncovered_processes{%s})",
        ),
    ]
}

fn resumption() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Resumed share over time",
            "Dashed lines: 10 %, 40 %, 75 %.",
            "percentunit",
        )
        .target(RESUMED, "of all handshakes")
        .target(ACCEPTED, "of offers")
        .share()
        .sized(12, 8),
        Panel::graph(
            "Completed handshakes",
            "unknown: the library does not tell which of both.",
            "reqps",
        )
        .target(
            "sum by (resumption) (rate(reprise_handshakes_total{%r}[%i]))",
            "{{resumption}}",
        )
        .stacked()
        .sized(12, 8),
        Panel::graph(
            "Offers by mechanism",
            "What clients offered, and whether the server took it.",
            "reqps",
        )
        .target(
            "sum by (mechanism, outcome) (rate(reprise_resumption_offers_total{%r}[%i]))",
            "{{mechanism}} {{outcome}}",
        )
        .stacked()
        .sized(12, 8),
        Panel::graph(
            "Protocol versions",
            "Completed handshakes by version.",
            "reqps",
        )
        .target(
            "sum by (version) (rate(reprise_handshakes_total{%r}[%i]))",
            "{{version}}",
        )
        .stacked()
        .sized(12, 8),
    ]
}

fn misses() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Missed offers by reason",
            "docs/operating.md has the remedy of each reason. unknown: not enough evidence, for instance right after a start.",
            "reqps",
        )
        .target(
            "sum by (reason) (rate(reprise_cache_misses_total{%r}[%i]))",
            "{{reason}}",
        )
        .stacked()
        .sized(12, 8),
        Panel::graph(
            "Sessions removed before their time",
            "unclean_close: the connection ended without close_notify, and OpenSSL dropped the session.",
            "ops",
        )
        .target(
            "sum by (cause) (rate(reprise_sessions_removed_total{%s}[%i]))",
            "{{cause}}",
        )
        .stacked(),
        Panel::stat(
            "Peers that miss",
            "Peers whose missed share of offers is over --alert-miss-ratio.",
            "none",
            "sum(reprise_cache_miss_alert{%r}) or vector(0)",
        )
        .alarm(1.0)
        .sized(4, 8),
        Panel::table(
            "Ticket keys",
            "Offered tickets per ticket key over the last hour. One key that some nodes take and others miss is a key that is not shared.",
            "short",
            r"sum by (instance, key, outcome) (increase(reprise_ticket_key_offers_total{%s}[1h]))",
            &["instance", "key", "outcome"],
            "Offers",
        )
        .sized(24, 8),
    ]
}

fn cost() -> Vec<Panel> {
    vec![
        Panel::stat(
            "CPU spent on missed offers",
            "Processors kept busy by full handshakes that could have been resumed: missed offers per second, times what a full handshake costs more than a resumed one. Needs handshakes of both kinds.",
            "none",
            COST,
        )
        .sized(8, 8),
        Panel::graph(
            "Library time of one handshake",
            "Mean time inside the library's handshake code.",
            "s",
        )
        .target(
            "sum by (resumption) (rate(reprise_handshake_library_seconds_total{%r}[%i])) / sum by (resumption) (rate(reprise_handshakes_total{%r}[%i]) > 0)",
            "{{resumption}}",
        ),
        Panel::graph(
            "Duration of one handshake",
            "From its first call to its completion; the network is in it.",
            "s",
        )
        .target(
            "histogram_quantile(0.5, sum by (resumption, le) (rate(reprise_handshake_duration_seconds_bucket{%r}[%i])))",
            "{{resumption}} median",
        )
        .target(
            "histogram_quantile(0.95, sum by (resumption, le) (rate(reprise_handshake_duration_seconds_bucket{%r}[%i])))",
            "{{resumption}} 95 %",
        ),
    ]
}

fn places() -> Vec<Panel> {
    vec![
        Panel::table(
            "Resumed share by node",
            "The odd one out has its own ticket key, a smaller cache, or other clients.",
            "percentunit",
            r#"sort(sum by (cluster, instance) (rate(reprise_handshakes_total{%r,resumption="resumed"}[5m])) / sum by (cluster, instance) (rate(reprise_handshakes_total{%r,resumption=~"full|resumed"}[5m]) > 0))"#,
            &["cluster", "instance"],
            "Resumed",
        )
        .share()
        .sized(12, 8),
        Panel::table(
            "Resumed share by workload",
            "Pod, systemd unit or process, and the port of its service.",
            "percentunit",
            r#"sort(sum by (workload, port) (rate(reprise_workload_handshakes_total{%r,workload=~"$workload",resumption="resumed"}[5m])) / sum by (workload, port) (rate(reprise_workload_handshakes_total{%r,workload=~"$workload",resumption=~"full|resumed"}[5m]) > 0))"#,
            &["workload", "port"],
            "Resumed",
        )
        .share()
        .sized(12, 8),
    ]
}
