//! Tests of the diagnosis: what servers issued and accepted decides the reason of a later miss.

mod evicted;
mod expired;
mod host;
mod hostile;
mod keys;
mod properties;
mod removal;
mod sizing;
mod table;
mod undecided;

use self::host::{Host, LIFETIME, Offered, SECOND};
use crate::model::{Connection, Lookup, MissReason, NetworkNamespace, Role};

/// One client that reconnects at once, `times` times, and misses each time.
fn reconnect(host: &mut Host, port: u16, times: u64) -> Vec<MissReason> {
    host.full(port, Offered::Id(0));
    let again = |id| {
        host.wait(SECOND);
        let miss = host.handshake(port, Offered::Id(id), false, Offered::Id(id + 1));
        miss.expect("a miss").reason
    };
    (0..times).map(again).collect()
}

#[test]
fn sessions_that_the_issuer_misses_at_once_are_not_stored() {
    let mut host = Host::new();
    let reasons = reconnect(&mut host, 443, 25);
    assert!(
        reasons
            .iter()
            .all(|reason| *reason == MissReason::NotStored),
        "{reasons:?}"
    );
    let miss = host.handshake(443, Offered::Id(25), false, Offered::Nothing);
    let evidence = miss.expect("a miss").evidence;
    assert_eq!(evidence.rule, "never_stored");
    assert_eq!(
        (evidence.issued_by, evidence.process),
        (Some(443), Some(443))
    );
    assert_eq!(
        (evidence.rank, evidence.issuer_ended),
        (Some(0), Some(false))
    );
}

#[test]
fn a_cache_that_is_too_small_evicts() {
    let mut host = Host::new();
    // Nothing was ever accepted: evicted at a rank at which a cache can be full.
    for id in 0..40 {
        host.full(443, Offered::Id(id));
    }
    for id in 0..40 {
        let miss = host.handshake(443, Offered::Id(id), false, Offered::Id(100 + id));
        assert_eq!(miss.expect("a miss").reason, MissReason::Evicted, "{id}");
    }
    // The sessions that were missed are replaced.
    let service = host.service(443);
    assert_eq!(service.sessions, 40);
}

#[test]
fn an_accepted_rank_bounds_the_cache() {
    let mut host = Host::new();
    for id in 0..60 {
        host.full(443, Offered::Id(id));
    }
    for id in 57..60 {
        host.handshake(443, Offered::Id(id), true, Offered::Nothing);
    }
    assert_eq!(host.reason(443, Offered::Id(40)), MissReason::Unknown);
    assert_eq!(host.reason(443, Offered::Id(0)), MissReason::Evicted);
    // A session that any cache still holds is missed: something else happened.
    assert_eq!(host.reason(443, Offered::Id(59)), MissReason::Unknown);
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Unknown);
}

#[test]
fn a_cache_that_is_lost_at_once_is_not_full() {
    let mut host = Host::new();
    let clients = 40;
    for id in 0..clients {
        host.full(443, Offered::Id(id));
    }
    for id in 0..clients {
        host.handshake(443, Offered::Id(id), true, Offered::Id(clients + id));
    }
    for id in 0..clients {
        let offered = Offered::Id(clients + id);
        let miss = host.handshake(443, offered, false, Offered::Id(2 * clients + id));
        assert_eq!(miss.expect("a miss").reason, MissReason::Unknown);
    }
}

#[test]
fn small_samples_are_unknown() {
    let mut host = Host::new();
    for id in 0..12 {
        host.full(443, Offered::Id(id));
    }
    assert_eq!(host.reason(443, Offered::Id(0)), MissReason::Unknown);
    host.handshake(443, Offered::Id(11), true, Offered::Nothing);
    assert_eq!(host.reason(443, Offered::Id(0)), MissReason::Unknown);
}

#[test]
fn an_id_expires() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    assert_eq!(
        host.wait(LIFETIME + 2 * SECOND).reason(443, Offered::Id(1)),
        MissReason::Expired
    );
}

#[test]
fn without_an_observed_look_up_an_issued_id_is_unknown() {
    let mut host = Host::new();
    host.session.lookup = Lookup::Unobserved;
    host.full(443, Offered::Id(1));
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Unknown);
}

#[test]
fn the_end_of_the_issuer_is_a_restart() {
    let mut host = Host::new();
    for id in 0..60 {
        host.full(443, Offered::Id(id));
    }
    host.tgid = Some(9_000);
    let before = host.reason(443, Offered::Id(59));
    assert_eq!(
        before,
        MissReason::Unknown,
        "the old process may finish its connections"
    );
    host.diagnoser.process_ended(443, host.now_ns, false);
    for id in 0..60 {
        let miss = host
            .wait(SECOND)
            .handshake(443, Offered::Id(id), false, Offered::Nothing);
        let miss = miss.expect("a miss");
        assert_eq!(miss.reason, MissReason::Restarted);
        assert_eq!(miss.evidence.issuer_ended, Some(true));
    }
}

#[test]
fn sessions_that_were_evicted_before_a_restart_are_not_lost_by_it() {
    let mut host = Host::new();
    host.tgid = Some(1);
    let clients = 60;
    for id in 0..clients {
        host.full(443, Offered::Id(id));
    }
    // The cache of one worker holds half of the sessions, and it survives a reload.
    for id in 0..clients / 2 {
        host.handshake(443, Offered::Id(id), false, Offered::Id(clients + id));
    }
    host.diagnoser.process_ended(1, host.now_ns, false);
    host.wait(SECOND).tgid = Some(2);
    let reason = host.reason(443, Offered::Id(clients / 2));
    assert_eq!(reason, MissReason::Unknown, "rank of an evicted session");
    let last = host.reason(443, Offered::Id(clients + clients / 2 - 1));
    assert_eq!(last, MissReason::Restarted);
}

#[test]
fn an_exec_ends_a_process_too() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    host.diagnoser.process_ended(443, host.now_ns, true);
    assert_eq!(
        host.wait(SECOND).reason(443, Offered::Id(1)),
        MissReason::Restarted
    );
}

#[test]
fn workers_with_caches_of_their_own() {
    let mut host = Host::new();
    for (round, id) in (0..10).enumerate() {
        for worker in [1, 2] {
            host.wait(SECOND).tgid = Some(worker);
            let id = u64::from(worker) * 100 + id;
            host.full(443, Offered::Id(id));
            let resumed = host.handshake(443, Offered::Id(id), true, Offered::Nothing);
            assert_eq!(resumed, None, "{round}");
        }
    }
    host.tgid = Some(1);
    assert_eq!(host.reason(443, Offered::Id(205)), MissReason::OtherProcess);
    // One acceptance across processes shows that the cache is shared.
    host.handshake(443, Offered::Id(204), true, Offered::Nothing);
    assert_eq!(host.reason(443, Offered::Id(205)), MissReason::Unknown);
    host.diagnoser.process_ended(2, host.now_ns, false);
    host.wait(SECOND);
    assert_eq!(host.reason(443, Offered::Id(203)), MissReason::Unknown);
    host.handshake(443, Offered::Id(202), true, Offered::Nothing);
    for id in 300..320 {
        host.full(443, Offered::Id(id));
    }
    let reason = host.reason(443, Offered::Id(203));
    assert_eq!(
        reason,
        MissReason::Evicted,
        "a cache that outlives processes is full"
    );
}

#[test]
fn workers_without_any_cache() {
    let mut host = Host::new();
    let mut reasons = Vec::new();
    for id in 0..60 {
        // Not in step with the clients.
        host.wait(SECOND).tgid = Some(1 + (id * id % 7 % 3) as u32);
        let miss = host.handshake(443, Offered::Id(id), false, Offered::Id(id + 1));
        reasons.extend(miss.map(|miss| miss.reason));
    }
    let wrong =
        |reason: &&MissReason| !matches!(reason, MissReason::NotStored | MissReason::Unknown);
    assert_eq!(reasons.iter().find(wrong), None);
    let named = reasons
        .iter()
        .filter(|reason| **reason == MissReason::NotStored)
        .count();
    assert!(named >= 50, "{named}");
}

/// Pods have equal addresses and ports, and their containers equal process IDs only by accident: a
/// pod that is replaced takes over both.
#[test]
fn an_id_of_another_namespace_is_foreign_and_counts_for_no_other_cache() {
    let mut host = Host::new();
    let pods = [1, 2].map(NetworkNamespace::Privileged);
    for (pod, tgid) in pods.into_iter().zip([10, 11]) {
        (host.namespace, host.tgid) = (pod, Some(tgid));
        host.full(443, Offered::Id(u64::from(tgid)));
    }
    for id in 100..140 {
        host.full(443, Offered::Id(id));
    }
    (host.namespace, host.tgid) = (pods[0], Some(10));
    assert_eq!(host.reason(443, Offered::Id(139)), MissReason::ForeignId);
    assert_eq!(host.service(443).sessions, 1);
    host.namespace = pods[1];
    assert_eq!(host.service(443).sessions, 41);
}

#[test]
fn an_id_of_another_service_is_foreign_until_both_share_a_cache() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    host.full(8443, Offered::Id(2));
    assert_eq!(host.reason(8443, Offered::Id(1)), MissReason::ForeignId);
    host.handshake(8443, Offered::Id(1), true, Offered::Nothing);
    assert_ne!(host.reason(443, Offered::Id(2)), MissReason::ForeignId);
}

#[test]
fn an_id_of_another_port_of_the_same_process_is_not_foreign() {
    let mut host = Host::new();
    host.tgid = Some(1);
    host.full(443, Offered::Id(1));
    assert_eq!(host.reason(8443, Offered::Id(1)), MissReason::Unknown);
}

#[test]
fn an_id_that_nobody_issued_is_unknown() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    for lifetimes in [0, 1, 4, 400] {
        let reason = host.wait(lifetimes * LIFETIME).reason(443, Offered::Id(9));
        assert_eq!(reason, MissReason::Unknown);
    }
}

#[test]
fn an_evicted_record_of_a_session_makes_no_id_foreign() {
    let mut host = Host::new();
    for id in 0..100 {
        host.full(443, Offered::Id(id));
    }
    assert!(host.diagnoser.retained().evicted > 0);
    assert_eq!(
        host.wait(20 * LIFETIME).reason(443, Offered::Id(0)),
        MissReason::Unknown
    );
}

#[test]
fn a_rejected_session_is_expired_or_refused_by_the_servers_clock() {
    let mut host = Host::new();
    for (age, reason) in [
        (LIFETIME, MissReason::Expired),
        (LIFETIME - 1, MissReason::Refused),
    ] {
        host.reject(age as i64);
        assert_eq!(host.reason(443, Offered::Psk(1, 7)), reason);
    }
}

#[test]
fn a_stepped_clock_is_named() {
    let mut host = Host::new();
    let boot = 600 * SECOND;
    host.session.age.created_ns = Some(boot);
    host.full(443, Offered::Id(1));
    let later = 1_796_001_781 * SECOND;
    host.wait(8 * SECOND).session.age.created_ns = Some(later);
    host.reject((later - boot) as i64);
    for offered in [Offered::Id(1), Offered::Psk(77, 7), Offered::Ticket(78, 7)] {
        let miss = host.handshake(443, offered, false, Offered::Nothing);
        let miss = miss.expect("a miss");
        assert_eq!(miss.reason, MissReason::Clock);
        assert_eq!(miss.age_ns, Some(8 * SECOND));
    }
    // A session from the future of the server's clock.
    host.reject(-3_600 * SECOND as i64);
    assert_eq!(host.reason(443, Offered::Psk(79, 7)), MissReason::Clock);
}

#[test]
fn a_cache_that_drops_sessions_by_a_stepped_clock_is_not_full() {
    let mut host = Host::new();
    for id in 0..50 {
        host.session.age.created_ns = Some(host.now_ns);
        host.full(443, Offered::Id(id));
    }
    host.wait(SECOND);
    host.session.age.created_ns = Some(host.now_ns + 2 * LIFETIME);
    let miss = host.handshake(443, Offered::Id(0), false, Offered::Nothing);
    let miss = miss.expect("a miss");
    assert_eq!(miss.reason, MissReason::Clock);
    let step = miss.evidence.clock_step_ns.expect("a step");
    assert_eq!(step.unsigned_abs(), 2 * LIFETIME);
}

#[test]
fn a_shared_cache_ends_with_its_processes() {
    for survives in [false, true] {
        let mut host = Host::new();
        host.tgid = Some(1);
        for id in 0..10 {
            host.full(443, Offered::Id(id));
        }
        host.tgid = Some(2);
        host.handshake(443, Offered::Id(0), true, Offered::Nothing);
        for tgid in [1, 2] {
            host.diagnoser.process_ended(tgid, host.now_ns, false);
        }
        host.wait(SECOND).tgid = Some(3);
        if survives {
            host.handshake(443, Offered::Id(1), true, Offered::Nothing);
        }
        let reason = match survives {
            true => MissReason::Unknown,
            false => MissReason::Restarted,
        };
        assert_eq!(host.reason(443, Offered::Id(2)), reason);
    }
}

#[test]
fn the_clock_of_a_server_is_compared_with_the_hosts() {
    let mut host = Host::new();
    host.diagnoser.set_clock(0);
    host.session.age.created_ns = Some(host.now_ns + 7_200 * SECOND);
    host.reject(7_200 * SECOND as i64);
    assert_eq!(
        host.reason(443, Offered::Psk(1, 7)),
        MissReason::Unknown,
        "issued by a right clock just now, or by this one long ago"
    );
    let facts = host.service(443);
    assert_eq!(facts.skew_ns, Some(7_200 * SECOND as i64));
    assert_eq!(facts.lifetime_ns, Some(LIFETIME));
}

#[test]
fn a_session_that_another_clock_calls_expired_is_dated_by_when_it_was_given() {
    let hour = 3_600 * SECOND;
    for (given_by, given_ago, reason) in [
        (8443, SECOND, MissReason::Clock),
        (443, 2 * hour, MissReason::Expired),
    ] {
        let mut host = Host::new();
        host.diagnoser.set_clock(0);
        let ahead = |port| if port == 443 { 2 * hour } else { 0 };
        host.wait(hour);
        host.session.age.created_ns = Some(host.now_ns + ahead(given_by));
        host.full(given_by, Offered::Psk(5, 0));
        host.wait(given_ago);
        host.session.age.created_ns = Some(host.now_ns + 2 * hour);
        let age = given_ago + 2 * hour - ahead(given_by);
        host.reject(age as i64);
        assert_eq!(host.reason(443, Offered::Psk(1, 7)), reason, "{given_by}");
    }
}

#[test]
fn a_clients_miss_shows_whether_its_server_is_on_this_host() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    let client = |host: &mut Host, port| {
        let mut seen = host.observation(port, Offered::Id(1), false, Offered::Nothing);
        seen.role = Role::Client;
        let connection = seen.connection.expect("a connection");
        seen.connection = Some(Connection {
            local: connection.remote,
            remote: connection.local,
            ..connection
        });
        host.diagnoser.diagnose(&mut seen);
        let miss = seen.miss.expect("a miss");
        (miss.reason, miss.service.is_some())
    };
    let unknown = MissReason::Unknown;
    assert_eq!(client(&mut host, 443), (unknown, true));
    assert_eq!(client(&mut host, 8443), (unknown, false), "on another host");
}

#[test]
fn live_sessions_are_counted_for_advice() {
    let mut host = Host::new();
    for id in 0..5 {
        host.wait(100 * SECOND).full(443, Offered::Id(id));
    }
    assert_eq!(host.service(443).sessions, 4);
    assert!(host.service(443).issues_ids && !host.service(443).issues_tickets);
}
