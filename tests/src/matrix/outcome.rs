//! Reasons that the agent reported in a cell, compared with the true ones.

use std::collections::BTreeMap;
use std::fmt;

use super::scenario::ClientCounts;
use crate::poll::{DEADLINE, poll_until};
use crate::{Agent, Metrics};

const MISSES: &str = "reprise_peer_cache_misses_total";
const HANDSHAKES: &str = "reprise_peer_handshakes_total";
const SERVER: (&str, &str) = ("role", "server");
const CLIENT: (&str, &str) = ("role", "client");

/// Missed sessions of one cell by the reported reason.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    reasons: BTreeMap<String, u32>,
    pub(super) missed: u32,
    pub(super) wrong: u32,
    pub(super) unknown: u32,
    /// Advice of the agent, where a reason is wrong or unknown.
    evidence: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.wrong > 0 { "WRONG" } else { "right" };
        write!(f, "{verdict} {:?} {}", self.reasons, self.evidence)
    }
}

/// Waits until the agent has counted everything that the clients counted, for both roles; returns
/// its reasons. `group` is the peer group of the clients.
pub(super) fn read(
    agent: &Agent,
    group: &str,
    counts: &ClientCounts,
    expected: &[&str],
) -> Outcome {
    let ports = counts.ports.iter();
    let services: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    let server = [("peer", group), SERVER];
    let clients = services
        .iter()
        .map(|service| [("peer", service.as_str()), CLIENT]);
    let metrics = poll_until(
        "the agent counts what the clients counted",
        DEADLINE,
        || {
            let metrics = agent.metrics();
            let of_server = |family| metrics.sum(family, &server);
            let of_clients = |family| {
                let sums = clients.clone().map(|labels| metrics.sum(family, &labels));
                sums.sum::<f64>()
            };
            let handshakes = [of_server(HANDSHAKES), of_clients(HANDSHAKES)];
            let misses = [of_server(MISSES), of_clients(MISSES)];
            if handshakes == [f64::from(counts.connected); 2]
                && misses == [f64::from(counts.missed); 2]
            {
                Ok(metrics)
            } else {
                Err(format!("{handshakes:?}, {misses:?}; clients: {counts:?}"))
            }
        },
    );
    let mut outcome = count_reasons(&metrics, &server, expected);
    // The reason of a client is that of the server, which runs on the same host, or unknown.
    for labels in clients {
        let of_client = count_reasons(&metrics, &labels, expected);
        if of_client.wrong > 0 {
            outcome.wrong += of_client.wrong;
            outcome.evidence += &format!("clients: {:?} ", of_client.reasons);
        }
    }
    if outcome.wrong + outcome.unknown > 0 {
        outcome.evidence += &advice(agent, group);
    }
    outcome
}

fn count_reasons(metrics: &Metrics, peer: &[(&str, &str)], expected: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    for sample in metrics.matching(MISSES, peer) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        let count = sample.value as u32;
        let reason = sample.labels["reason"].clone();
        outcome.missed += count;
        match reason.as_str() {
            "unknown" => outcome.unknown += count,
            reason if expected.contains(&reason) => {}
            _ => outcome.wrong += count,
        }
        if count > 0 {
            outcome.reasons.insert(reason, count);
        }
    }
    outcome
}

/// Advice of the agent for a peer, with the evidence of its newest miss.
fn advice(agent: &Agent, group: &str) -> String {
    let response = agent.get("/api/v1/peers");
    let body = response.map(|response| response.body).unwrap_or_default();
    let peers: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap_or_default();
    let row = peers
        .into_iter()
        .find(|row| row["peer"] == group && row["role"] == "server");
    row.map(|row| row["advice"].to_string()).unwrap_or_default()
}
