//! Assertions about handshakes that were made to fail: their number, peers and causes.

use crate::agent::Agent;
use crate::metrics::Metrics;
use crate::servers::Server;
use crate::truth::Expected;

/// Failed handshakes by role and cause.
pub const FAMILY: &str = "reprise_handshake_failures_total";
/// Failed handshakes by peer, role and cause.
pub const PEER_FAMILY: &str = "reprise_peer_handshake_failures_total";

/// Returns the recent failed handshakes, latest first.
///
/// # Panics
/// If the agent does not answer with a list.
#[must_use]
pub fn failures(agent: &Agent) -> Vec<serde_json::Value> {
    let response = agent.get("/api/v1/failures");
    let response = response.unwrap_or_else(|error| panic!("no failures: {error}"));
    serde_json::from_str(&response.body)
        .unwrap_or_else(|error| panic!("malformed failures: {error}: {}", response.body))
}

/// Asserts that each of `peers` has one failure in this role with one of `causes`, and that nothing
/// else was counted.
///
/// # Panics
/// If anything else was counted.
pub fn one_failure_each(
    agent: &Agent,
    server: &Server,
    before: &Metrics,
    role: &str,
    peers: &[&str],
    causes: &[&str],
) {
    let mut expected = Expected::default();
    let count = u32::try_from(peers.len()).expect("few peers");
    expected
        .add(FAMILY, &[("role", role)], count)
        .add("reprise_handshakes_total", &[], 0);
    for peer in peers {
        expected.add(PEER_FAMILY, &[("peer", peer), ("role", role)], 1);
        expected.add(
            "reprise_peer_handshakes_total",
            &[("peer", peer), ("role", role)],
            0,
        );
    }
    expected.assert_final(agent, server, before);
    let after = agent.metrics();
    for (family, peer) in [FAMILY]
        .into_iter()
        .map(|f| (f, None))
        .chain(peers.iter().map(|p| (PEER_FAMILY, Some(*p))))
    {
        let risen: f64 = causes
            .iter()
            .map(|cause| {
                let mut labels = vec![("role", role), ("cause", *cause)];
                labels.extend(peer.map(|peer| ("peer", peer)));
                after.sum(family, &labels) - before.sum(family, &labels)
            })
            .sum();
        let want = if peer.is_some() { 1 } else { count };
        let page = after.show("failures_total");
        assert_eq!(
            risen,
            f64::from(want),
            "{family} of {peer:?} by {causes:?} ({role}); page:{page}"
        );
    }
}
