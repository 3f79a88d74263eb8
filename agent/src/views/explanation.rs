//! Explanations of misses in words, for every view.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use reprise_core::{
    model::Evidence,
    pipeline::{
        Pipeline,
        clock::Clock,
        diagnose::required_evidence,
        stats::{MAX_PEERS_WITH_EXAMPLES, MissExample, PeerKey},
    },
};

/// Time of day with milliseconds.
const TIMES: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// The wall-clock time of `monotonic_ns`, as RFC 3339 in UTC; `None` before the first reading of
/// the clock.
pub(super) fn time(clock: &Clock, monotonic_ns: u64) -> Option<String> {
    let wall_ns = clock.wall_ns(monotonic_ns)?;
    let time = Timestamp::from_nanosecond(wall_ns.into()).ok()?;
    Some(TIMES.timestamp_to_string(&time))
}

/// The evidence that the rule requires, then the rule and the facts.
pub(super) fn text(evidence: &Evidence) -> String {
    match required_evidence(evidence.rule) {
        Some(required) => format!("{required} ({evidence})"),
        None => evidence.to_string(),
    }
}

/// The newest miss of a peer with one reason, in one line.
pub(super) fn example(pipeline: &Pipeline, example: Option<&MissExample>) -> String {
    let Some(example) = example else {
        return format!(
            "no example: only the {MAX_PEERS_WITH_EXAMPLES} peers with the newest misses have one"
        );
    };
    let seconds = pipeline.now_ns().saturating_sub(example.time_ns) / 1_000_000_000;
    let mechanism = example.mechanism.label();
    format!(
        "{seconds} s ago, {mechanism}: {}",
        text(&example.miss.evidence)
    )
}

/// One miss in one line: time, peer, role, mechanism, reason, rule and facts. Without a reading of
/// the clock, the time is in seconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn line(clock: &Clock, peer: &PeerKey, example: &MissExample) -> String {
    let time = time(clock, example.time_ns);
    let time = time.unwrap_or_else(|| format!("{:.3}", example.time_ns as f64 / 1e9));
    let miss = &example.miss;
    format!(
        "{time} {} {} {} {} {}",
        peer.peer,
        peer.role.label(),
        example.mechanism.label(),
        miss.reason.label(),
        miss.evidence,
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, net::SocketAddr};

    use reprise_core::{
        model::{
            Connection, Mechanism, Miss, MissReason, NetworkEvidence, Observation, Offer, Outcome,
            Resumption, Role, Source, Version,
        },
        pipeline::{
            clock::ClockEvent,
            peers::{Groups, Naming},
            record::Record,
        },
    };
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::{observed::Observed, status::Status, testing::small_pipeline};

    const SECOND: u64 = 1_000_000_000;
    /// The start of the host's monotonic clock, 2026-11-30 12:00, nanoseconds since 1970.
    const BOOT_NS: i64 = 1_796_040_000_000_000_000;
    const EVIDENCE: Evidence = Evidence {
        rule: "beyond_accepted_rank",
        process: Some(12),
        issued_by: Some(12),
        issuer_ended: Some(false),
        rank: Some(41),
        accepted_rank: Some(20),
        age_ns: Some(9 * SECOND),
        lifetime_ns: Some(300 * SECOND),
        key: None,
        key_used_by: None,
        per_connection_keys: false,
        removal: None,
        clock_step_ns: None,
    };
    const WORDS: &str = "rule beyond_accepted_rank, missed by process 12, issued by process 12, \
                         41 sessions issued since (accepted after at most 20), age 9.000 s, \
                         lifetime 300.000 s";

    fn seen(role: Role, ends: [&str; 2], miss: Miss) -> Observation {
        let [local, remote] = ends.map(|end| end.parse::<SocketAddr>().unwrap());
        Observation {
            time_ns: SECOND / 2,
            duration_ns: 1,
            role,
            tgid: None,
            cgroup: None,
            version: Version::V13,
            outcome: Outcome::Completed(Resumption::Full),
            connection: Some(Connection {
                local,
                remote,
                namespace: reprise_core::model::NetworkNamespace::Unknown,
            }),
            network: NetworkEvidence::default(),
            source: Source::Wire,
            offer: Offer::Session(Mechanism::Psk),
            hello: None,
            alert: None,
            conflict: false,
            miss: Some(miss),
        }
    }

    /// The group `plant north/1` missed sessions: two as clients, and one as a server.
    pub(in crate::views) fn observed() -> Observed {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("peers.toml");
        fs::write(&file, "[groups]\n'plant north/1' = ['192.0.2.0/24']").unwrap();
        let naming = Naming {
            groups: Groups::load(&file).unwrap(),
            ..Naming::default()
        };
        let mut pipeline = small_pipeline(naming.clone());
        let clock = ClockEvent {
            offset_ns: BOOT_NS,
            ..ClockEvent::new_zeroed()
        };
        pipeline.push(&Record::Clock(clock));
        pipeline.push(&Record::Tick(3 * SECOND));
        let miss = Miss {
            reason: MissReason::Evicted,
            evidence: EVIDENCE,
            age_ns: None,
            lifetime_ns: None,
            service: None,
            lossy: false,
        };
        for client in ["192.0.2.7:50000", "192.0.2.7:50001"] {
            let seen = seen(Role::Server, ["198.51.100.1:443", client], miss);
            pipeline.stats.record(&seen, &naming);
        }
        let seen = seen(Role::Client, ["198.51.100.1:50002", "192.0.2.8:443"], miss);
        pipeline.stats.record(&seen, &naming);
        Observed {
            pipeline,
            status: Status::default(),
        }
    }

    #[test]
    fn an_explanation_is_one_line_with_time_rule_and_facts() {
        let observed = observed();
        let pipeline = &observed.pipeline;
        let peers = pipeline.stats.peers_named("plant north/1");
        let (key, sums) = &peers[0];
        let explanations = pipeline.stats.explanations(key, sums);
        assert_eq!((explanations.len(), explanations[0].count), (1, 2));
        let newest = explanations[0].example.unwrap();
        assert_eq!(
            line(&pipeline.clock, key, &newest),
            format!("2026-11-30T12:00:00.500Z plant north/1 server psk evicted {WORDS}")
        );
        let text = example(pipeline, Some(&newest));
        assert!(
            text.starts_with("2 s ago, psk: half as many sessions again were issued since"),
            "{text}"
        );
        assert!(text.ends_with(&format!("({WORDS})")), "{text}");
        assert!(example(pipeline, None).contains("no example"));
    }
}
