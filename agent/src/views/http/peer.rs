//! Body of `/api/v1/peers/{peer}`: one peer in both roles, with explanations of its misses.

use serde::Serialize;

use super::peers::{self, PeerRow};
use crate::{observed::Observed, views::explanation};
use reprise_core::{
    model::Evidence,
    pipeline::{
        Pipeline,
        diagnose::required_evidence,
        stats::{Explanation, MissExample},
    },
};

/// One peer.
#[derive(Debug, Serialize)]
pub(super) struct Peer {
    peer: String,
    /// One entry for each role in which the peer has sums.
    roles: Vec<RoleOfPeer>,
}

#[derive(Debug, Serialize)]
struct RoleOfPeer {
    role: &'static str,
    sums: PeerRow,
    /// The commonest reasons of its misses, the commonest first.
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    reason: &'static str,
    count: u64,
    /// The newest miss with this reason; null if it was evicted.
    example: Option<Example>,
}

#[derive(Debug, Serialize)]
struct Example {
    /// RFC 3339; null before the first reading of the clock.
    time: Option<String>,
    seconds_ago: f64,
    mechanism: &'static str,
    client_port: Option<u16>,
    server_port: Option<u16>,
    rule: &'static str,
    /// The evidence that the rule requires, in words.
    rule_text: &'static str,
    /// The facts that are known, with their names.
    evidence: Evidence,
    /// Rule and facts in words.
    text: String,
}

/// The peers of this name in both roles; `None` if there is none.
pub(super) fn peer(observed: &Observed, name: &str) -> Option<Peer> {
    let stats = &observed.pipeline.stats;
    let peers = stats.peers_named(name).into_iter();
    let roles: Vec<_> = peers
        .map(|(key, sums)| {
            let explanations = stats.explanations(&key, sums).into_iter();
            RoleOfPeer {
                role: key.role.label(),
                sums: peers::row(observed, &key, sums),
                reasons: explanations
                    .map(|explanation| reason(&observed.pipeline, &explanation))
                    .collect(),
            }
        })
        .collect();
    (!roles.is_empty()).then(|| Peer {
        peer: name.to_owned(),
        roles,
    })
}

fn reason(pipeline: &Pipeline, explanation: &Explanation) -> Reason {
    Reason {
        reason: explanation.reason.label(),
        count: explanation.count,
        example: explanation
            .example
            .map(|example| Example::new(pipeline, &example)),
    }
}

impl Example {
    fn new(pipeline: &Pipeline, example: &MissExample) -> Self {
        let evidence = example.miss.evidence;
        let age_ns = pipeline.now_ns().saturating_sub(example.time_ns);
        Self {
            time: explanation::time(&pipeline.clock, example.time_ns),
            seconds_ago: age_ns as f64 / 1e9,
            mechanism: example.mechanism.label(),
            client_port: example.ports.map(|ports| ports.client),
            server_port: example.ports.map(|ports| ports.server),
            rule: evidence.rule,
            rule_text: required_evidence(evidence.rule).unwrap_or_default(),
            evidence,
            text: explanation::text(&evidence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::explanation::tests::observed;

    #[test]
    fn a_peer_has_its_rules_and_examples_in_both_roles() {
        let observed = observed();
        let peer = peer(&observed, "plant north/1").unwrap();
        let peer = serde_json::to_value(&peer).unwrap();
        assert_eq!(peer["peer"], "plant north/1");
        let roles = peer["roles"].as_array().unwrap();
        assert_eq!(roles.len(), 2);
        assert_eq!(roles[0]["role"], "server");
        let reason = &roles[0]["reasons"][0];
        assert_eq!(
            (&reason["reason"], &reason["count"]),
            (&"evicted".into(), &2.into())
        );
        let example = &reason["example"];
        assert_eq!(example["time"], "2026-11-30T12:00:00.500Z");
        assert_eq!(example["client_port"], 50_001);
        assert_eq!(example["rule"], "beyond_accepted_rank");
        assert_eq!(example["evidence"]["rank"], 41);
        assert_eq!(example["evidence"]["lifetime_seconds"], 300.0);
        assert!(example["evidence"].get("key").is_none(), "not known");
        assert!(super::peer(&observed, "plant").is_none());
    }
}
