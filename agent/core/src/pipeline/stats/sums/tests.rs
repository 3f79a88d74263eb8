//! Tests of the sums.

use super::*;
use crate::{
    model::Token,
    pipeline::stats::{Thresholds, testing::seen},
};

const FULL: Outcome = Outcome::Completed(Resumption::Full);

fn stats() -> Stats {
    Stats::new(Limits {
        max_peers: 100,
        max_services: 100,
        max_workloads: 100,
        forget_after_ns: 2_000,
        forget_peers_after_ns: 5_000,
        window_ns: 1_000,
        thresholds: Thresholds {
            miss_ratio: 0.9,
            min_offers: 3,
        },
    })
}

#[test]
fn offers_of_every_outcome_add_up() {
    let mut stats = stats();
    let psk = Offer::Session(Mechanism::Psk);
    let resumed = Outcome::Completed(Resumption::Resumed);
    let failed = Outcome::Failed(FailureCause::AlertSent);
    for (outcome, offer) in [
        (FULL, Offer::Unknown),
        (FULL, Offer::Nothing),
        (FULL, psk),
        (resumed, psk),
        (failed, psk),
        (failed, Offer::Nothing),
    ] {
        let seen = seen(Role::Server, "192.0.2.9:1", outcome, offer);
        stats.record(&seen, &Naming::default());
    }
    let sums = &stats.offers[Role::Server];
    let total = sums.total();
    assert_eq!((total.accepted, total.missed, total.failed), (1, 1, 1));
    let completed = total.accepted + total.missed + sums.not_offered + sums.unknown;
    assert_eq!(completed, 4);
    assert_eq!(sums.unknown, 1);
    assert_eq!(stats.recent_failures.latest_first()[1].offer, psk);
}

#[test]
fn ephemeral_ports_of_a_server_are_one_peer() {
    let mut stats = stats();
    for port in 40_000..40_050 {
        let remote = format!("198.51.100.1:{port}");
        let seen = seen(Role::Client, &remote, FULL, Offer::Nothing);
        stats.record(&seen, &Naming::default());
    }
    assert_eq!((stats.peers.len(), stats.clients.len()), (9, 1));
    let folded = stats.peers.iter().map(|(key, _)| key.peer.to_string());
    assert!(
        folded
            .into_iter()
            .any(|name| name == "198.51.100.1:ephemeral")
    );
    let completed = stats.peers.iter().map(|(_, sums)| sums.ended());
    assert_eq!(completed.sum::<u64>(), 50);
}

#[test]
fn ephemeral_ports_of_one_address_are_one_service() {
    let mut stats = stats();
    for port in 40_000..40_050 {
        let mut seen = seen(Role::Server, "198.51.100.1:1", FULL, Offer::Nothing);
        if let Some(connection) = &mut seen.connection {
            connection.local.set_port(port);
        }
        stats.record(&seen, &Naming::default());
    }
    assert_eq!((stats.services.len(), stats.clients.len()), (9, 0));
    let folded = stats.services.named().into_iter();
    let folded = folded.filter(|(key, _)| key.port == ServicePort::Ephemeral);
    let completed = folded.map(|(_, sums)| sums.completed[Resumption::Full]);
    assert_eq!(completed.sum::<u64>(), 42);
}

#[test]
fn series_without_a_handshake_leave_in_time() {
    let mut stats = stats();
    for (role, time_ns) in [(Role::Server, 10), (Role::Client, 3_000)] {
        let seen = Observation {
            time_ns,
            ..seen(role, "198.51.100.1:1", FULL, Offer::Nothing)
        };
        stats.record(&seen, &Naming::default());
    }
    let lengths = |stats: &Stats| (stats.services.len(), stats.clients.len(), stats.peers.len());
    for (now_ns, expected) in [
        (2_010, (1, 1, 2)),
        (2_011, (0, 1, 2)),
        (5_001, (0, 0, 2)),
        (5_011, (0, 0, 1)),
        (10_000, (0, 0, 0)),
    ] {
        stats.expire(now_ns);
        assert_eq!(lengths(&stats), expected, "{now_ns}");
    }
    assert_eq!(stats.peers.forgotten(), 2);
}

#[test]
fn first_visits_without_an_offer_are_no_alert() {
    let mut stats = stats();
    let naming = Naming {
        prefix_v4: 24,
        ..Naming::default()
    };
    let visit = |stats: &mut Stats, last: u8, issues: bool| {
        let remote = format!("192.0.2.{last}:1");
        let mut seen = seen(Role::Server, &remote, FULL, Offer::Nothing);
        if let Some(hello) = &mut seen.hello
            && issues
        {
            hello.issued_id = Some(Token {
                hash: 1,
                key: None,
                length: 32,
            });
        }
        stats.record(&seen, &naming);
    };
    for last in 0..50 {
        visit(&mut stats, last, true);
    }
    assert_eq!(stats.peers.update_alerts(1), []);
    for last in 0..3 {
        visit(&mut stats, last, true);
    }
    let changes = stats.peers.update_alerts(1);
    assert_eq!(changes[0].after, Some(AlertReason::NeverOffered));
}
