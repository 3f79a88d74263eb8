//! Dashboard *Resumption overview*: resumed share, offers, miss reasons and the cost of misses.

mod services;

use crate::generate::grafana::{Dashboard, Panel, query_variable, role_variable};

/// Resumed share of the handshakes whose resumption is known.
const RESUMED: &str = r#"sum(rate(reprise_handshakes_total{%r,resumption="resumed"}[%i])) / sum(rate(reprise_handshakes_total{%r,resumption=~"full|resumed"}[%i]))"#;
/// Accepted share of the offers: the ratio for clients that return with a session.
const ACCEPTED: &str = r#"sum(rate(reprise_resumption_offers_total{%r,outcome="accepted"}[%i])) / sum(rate(reprise_resumption_offers_total{%r}[%i]))"#;
/// Share of clients that offer a session at all.
const OFFERING: &str = r#"sum(rate(reprise_resumption_offers_total{%r}[%i])) / (sum(rate(reprise_resumption_offers_total{%r}[%i])) + sum(rate(reprise_resumption_not_offered_total{%r}[%i])))"#;
/// Seconds per second spent on missed offers: the additional time of a full handshake in the
/// library, times the missed offers per second.
const COST: &str = r#"sum(rate(reprise_resumption_offers_total{%r,outcome="missed"}[%i])) * clamp_min(sum(rate(reprise_handshake_library_seconds_total{%r,resumption="full"}[%i])) / sum(rate(reprise_handshakes_total{%r,resumption="full"}[%i])) - sum(rate(reprise_handshake_library_seconds_total{%r,resumption="resumed"}[%i])) / sum(rate(reprise_handshakes_total{%r,resumption="resumed"}[%i])), 0)"#;

pub(super) fn dashboard() -> Dashboard {
    let workload = query_variable(
        "workload",
        "Workload",
        r#"label_values(reprise_service_handshakes_total{cluster=~"$cluster",instance=~"$node"}, workload)"#,
    );
    let namespace = query_variable(
        "namespace",
        "Namespace",
        r#"label_values(reprise_service_handshakes_total{cluster=~"$cluster",instance=~"$node"}, namespace)"#,
    );
    Dashboard::new(
        "reprise-overview",
        "Reprise / Resumption overview",
        "How many TLS handshakes resume a session, why offers are missed, and what misses cost. For returning clients 40 % to 75 % is healthy.",
        vec![role_variable(), namespace, workload],
        panels(),
    )
}

fn panels() -> Vec<Panel> {
    let mut panels = key_figures();
    panels.extend(resumption());
    panels.push(Panel::row("Missed offers"));
    panels.extend(misses());
    panels.push(Panel::row("Cost"));
    panels.extend(cost());
    panels.push(Panel::row("Services"));
    panels.extend(services::panels());
    panels.push(Panel::row("Nodes and clients"));
    panels.extend(shares());
    panels
}

fn key_figures() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Resumed share",
            "Resumed share of all completed handshakes; if it is low while Offers accepted is high, clients offer nothing.",
            "percentunit",
            RESUMED,
        )
        .share(),
        Panel::stat(
            "Offers accepted",
            "Share of offered sessions that the server accepted: the ratio for returning clients.",
            "percentunit",
            ACCEPTED,
        )
        .share(),
        Panel::stat(
            "Clients with an offer",
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
            "Share of handshakes that did not complete; the dashboard Loss and failures shows the causes.",
            "percentunit",
            "sum(rate(reprise_handshake_failures_total{%r}[%i])) / (sum(rate(reprise_handshake_failures_total{%r}[%i])) + sum(rate(reprise_handshakes_total{%r}[%i])))",
        )
        .alarm(0.05),
        Panel::stat(
            "Not observed",
            "Processes that use TLS and are not observed; the dashboard Agent shows the reasons.",
            "none",
            "sum(reprise_uncovered_processes{%s})",
        ),
    ]
}

fn resumption() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Resumed share over time",
            "Resumed share; dashed lines mark 10 %, 40 % and 75 %.",
            "percentunit",
        )
        .target(RESUMED, "of all handshakes")
        .target(ACCEPTED, "of offers")
        .share()
        .sized(12, 8),
        Panel::graph(
            "Completed handshakes",
            "Completed handshakes; unknown if the library does not expose whether a session was resumed.",
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
            "Offers by mechanism and outcome, and handshakes whose offer is unknown.",
            "reqps",
        )
        .target(
            "sum by (mechanism, outcome) (rate(reprise_resumption_offers_total{%r}[%i]))",
            "{{mechanism}} {{outcome}}",
        )
        .target(
            "sum(rate(reprise_resumption_offer_unknown_total{%r}[%i]))",
            "offer unknown",
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
        Panel::graph(
            "Early data",
            "Handshakes whose client offered early data (TLS 1.3), by what became of it.",
            "reqps",
        )
        .target(
            "sum by (outcome) (rate(reprise_early_data_total{%r}[%i]))",
            "{{outcome}}",
        )
        .stacked()
        .sized(12, 8),
        Panel::graph(
            "External PSKs",
            "Handshakes with external pre-shared keys, by outcome. They are neither full nor resumed.",
            "reqps",
        )
        .target(
            "sum by (outcome) (rate(reprise_external_psk_total{%r}[%i]))",
            "{{outcome}}",
        )
        .stacked()
        .sized(12, 8),
    ]
}

fn misses() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Missed offers by reason",
            "Missed offers; docs/operating.md has the remedy of each reason, and unknown stands for insufficient evidence.",
            "reqps",
        )
        .target(
            "sum by (reason) (rate(reprise_cache_misses_total{%r}[%i]))",
            "{{reason}}",
        )
        .stacked()
        .sized(12, 8),
        Panel::graph(
            "Sessions removed early",
            "Sessions removed from a cache before their lifetime ended; unclean_close_by_server and unclean_close_by_peer name the side that ended a connection without close_notify.",
            "ops",
        )
        .target(
            "sum by (cause) (rate(reprise_sessions_removed_total{%s}[%i]))",
            "{{cause}}",
        )
        .stacked(),
        Panel::stat(
            "Peers that miss",
            "Peers whose missed share of offers exceeds --alert-miss-ratio.",
            "none",
            "sum(reprise_cache_miss_alert{%r}) or vector(0)",
        )
        .alarm(1.0)
        .sized(4, 8),
        Panel::table(
            "Ticket keys",
            "Offered tickets by ticket key over the last hour; a key that only some nodes accept is not shared. A node counts misses under keys that it never accepted as other.",
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
            "Time spent on missed offers",
            "Seconds per second: missed offers per second times the additional time of a full handshake in the library. It is CPU time for programs with non-blocking sockets; blocking programs also wait for the network. Needs full and resumed handshakes.",
            "none",
            COST,
        )
        .sized(8, 8),
        Panel::graph(
            "Library time of one handshake",
            "Mean time in the library's handshake code; for programs with blocking sockets it includes waits for the network.",
            "s",
        )
        .target(
            "sum by (resumption) (rate(reprise_handshake_library_seconds_total{%r}[%i])) / sum by (resumption) (rate(reprise_handshakes_total{%r}[%i]) > 0)",
            "{{resumption}}",
        ),
        Panel::graph(
            "Duration of one handshake",
            "Time from the first call to completion, including network time.",
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

fn shares() -> Vec<Panel> {
    vec![
        Panel::table(
            "Resumed share by node",
            "Resumed share of each node; a node that differs may have other ticket keys, a smaller cache or other clients.",
            "percentunit",
            r#"sort(sum by (cluster, instance) (rate(reprise_handshakes_total{%r,resumption="resumed"}[5m])) / sum by (cluster, instance) (rate(reprise_handshakes_total{%r,resumption=~"full|resumed"}[5m]) > 0))"#,
            &["cluster", "instance"],
            "Resumed",
        )
        .share()
        .sized(12, 8),
        Panel::table(
            "Resumed share by client",
            "Resumed share of the workloads that connect to servers.",
            "percentunit",
            r#"sort(sum by (namespace, workload) (rate(reprise_client_handshakes_total{%s,resumption="resumed"}[5m])) / sum by (namespace, workload) (rate(reprise_client_handshakes_total{%s,resumption=~"full|resumed"}[5m]) > 0))"#,
            &["namespace", "workload"],
            "Resumed",
        )
        .share()
        .sized(12, 8),
    ]
}
