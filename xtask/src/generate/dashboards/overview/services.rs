//! Panels per service: a port and the workload behind it, over all pods and nodes.

use crate::generate::grafana::Panel;

/// Selects the services of the chosen namespaces and workloads.
const SERVICES: &str = r#"{%s,namespace=~"$namespace",workload=~"$workload"}"#;
/// Labels of a service over all its pods.
const LABELS: &str = "namespace, workload, port";
/// A service in a legend.
const NAME: &str = "{{namespace}}/{{workload}}:{{port}}";
/// Additional time of a full handshake in the library, seconds.
const FULL_COST: &str = r#"clamp_min(sum(rate(reprise_handshake_library_seconds_total{%s,role="server",resumption="full"}[%i])) / sum(rate(reprise_handshakes_total{%s,role="server",resumption="full"}[%i])) - sum(rate(reprise_handshake_library_seconds_total{%s,role="server",resumption="resumed"}[%i])) / sum(rate(reprise_handshakes_total{%s,role="server",resumption="resumed"}[%i])), 0)"#;

/// Expands `%S`, the selector of the services, and `%L`, their labels.
fn expand(query: &str) -> String {
    query.replace("%S", SERVICES).replace("%L", LABELS)
}

/// Adds labels to the selector of the services.
fn selecting(query: &str, labels: &str) -> String {
    let selector = SERVICES.replace('}', &format!(",{labels}}}"));
    expand(&query.replace("%F", &selector))
}

pub(super) fn panels() -> Vec<Panel> {
    let mut panels = resumption();
    panels.extend(clients());
    panels.extend(cost());
    panels.extend(caches());
    panels
}

fn resumption() -> Vec<Panel> {
    let accepted = selecting(
        "sort(sum by (%L) (rate(reprise_service_offers_total%F[5m])) / (sum by (%L) (rate(reprise_service_offers_total%S[5m])) > 0))",
        r#"outcome="accepted""#,
    );
    let missed = expand(
        "sort_desc(sum by (%L, reason) (rate(reprise_service_cache_misses_total%S[5m])) / on (%L) group_left () (sum by (%L) (rate(reprise_service_offers_total%S[5m])) > 0) > 0)",
    );
    let handshakes =
        expand("sum by (%L, resumption) (rate(reprise_service_handshakes_total%S[%i]))");
    vec![
        Panel::table(
            "Offers accepted by service",
            "Accepted share of the offered sessions: the ratio for returning clients.",
            "percentunit",
            &accepted,
            &["namespace", "workload", "port"],
            "Accepted",
        )
        .share()
        .sized(12, 8),
        Panel::table(
            "Missed offers by service and reason",
            "Share of the offered sessions that was missed for each reason; docs/operating.md has the remedy of each reason.",
            "percentunit",
            &missed,
            &["namespace", "workload", "port", "reason"],
            "Missed",
        )
        .sized(12, 8),
        Panel::graph(
            "Handshakes by service",
            "Completed handshakes per second.",
            "reqps",
        )
        .target(&handshakes, &format!("{NAME} {{{{resumption}}}}"))
        .stacked(),
    ]
}

fn clients() -> Vec<Panel> {
    let known = ["returning", "new"].map(|kind| {
        let query = format!("sum by (%L) (reprise_peers_{kind}%S)");
        (kind, expand(&query))
    });
    let mut panel = Panel::graph(
        "Clients by service",
        "Clients with a handshake in the last minutes (--window), by address: those that the service knew before, and those that were not observed before. The first appear two windows after the service.",
        "none",
    );
    for (kind, query) in known {
        panel = panel.target(&query, &format!("{NAME} {kind}"));
    }
    let suspect = expand("sum by (%L, suspicion) (reprise_peers_suspect%S)");
    let surge = expand("max by (%L, kind) (reprise_service_surge%S)");
    let gone = expand(
        "sum by (%L) (rate(reprise_service_gone_clients_total%S[%i])) or 0 * sum by (%L) (rate(reprise_service_handshakes_total%S[%i]))",
    );
    vec![
        panel,
        Panel::graph(
            "Suspicious clients by service",
            "Clients that complete no handshake, offer sessions that nobody issued, or use none of many sessions that they were given.",
            "none",
        )
        .target(&suspect, &format!("{NAME} {{{{suspicion}}}}")),
        Panel::graph(
            "Storms and attacks by service",
            "1 while known clients return at once (storm), or suspicious ones come beside known ones that behave well (attack).",
            "none",
        )
        .target(&surge, &format!("{NAME} {{{{kind}}}}")),
        Panel::graph(
            "Handshakes for clients that are gone",
            "Handshakes per second that completed after the client had closed or reset the connection: the server is too slow for its clients.",
            "reqps",
        )
        .target(&gone, NAME),
    ]
}

fn cost() -> Vec<Panel> {
    let failures = expand("sum by (%L, cause) (rate(reprise_service_failures_total%S[%i]))");
    let missed = selecting(
        "sum by (%L) (rate(reprise_service_offers_total%F[%i]))",
        r#"outcome="missed""#,
    );
    vec![
        Panel::graph(
            "Failures by service and cause",
            "Handshakes that did not complete, per second.",
            "reqps",
        )
        .target(&failures, &format!("{NAME} {{{{cause}}}}")),
        Panel::graph(
            "Cost of misses by service",
            "CPU seconds per second: missed offers per second times the additional time of a full handshake in the libraries of the servers. Programs with blocking sockets also wait for the network in this time.",
            "none",
        )
        .target(&format!("{missed} * scalar({FULL_COST})"), NAME),
    ]
}

fn caches() -> Vec<Panel> {
    let alive = expand("sum by (%L) (reprise_service_sessions_alive%S)");
    let quantile = |quantile: f64, family: &str| {
        let query = format!(
            "histogram_quantile({quantile}, sum by (%L, le) (rate({family}_bucket%S[%i])))"
        );
        expand(&query)
    };
    let age = "reprise_session_reuse_age_seconds";
    vec![
        Panel::graph(
            "Sessions alive",
            "Sessions within their lifetime per service, which its cache would have to hold. reprise advise shows the settings.",
            "none",
        )
        .target(&alive, NAME),
        Panel::graph(
            "Age of offered sessions",
            "Time since the server stored a session that is offered, for sessions in a cache: a lifetime below it loses the session.",
            "s",
        )
        .target(&quantile(0.5, age), &format!("{NAME} median"))
        .target(&quantile(0.95, age), &format!("{NAME} 95 %")),
        Panel::graph(
            "Distance of offered sessions",
            "Sessions that the server stored since it stored the one that is offered: a smaller cache has evicted it.",
            "none",
        )
        .target(
            &quantile(0.95, "reprise_session_reuse_distance"),
            &format!("{NAME} 95 %"),
        ),
    ]
}
