//! Tests of ticket keys.

use super::host::{Host, LIFETIME, Offered, SECOND};
use crate::model::{Lookup, MissReason};

fn offer(key: u32) -> Offered {
    Offered::Psk(1_000 + u64::from(key), key)
}

#[test]
fn a_key_of_a_parallel_worker_is_of_another_process() {
    let mut host = Host::new();
    for round in 0..4 {
        for worker in [1, 2] {
            host.wait(SECOND).tgid = Some(worker);
            host.handshake(443, Offered::Psk(round, worker), true, Offered::Nothing);
        }
    }
    host.tgid = Some(1);
    let miss = host.handshake(443, offer(2), false, Offered::Nothing);
    let miss = miss.expect("a miss");
    assert_eq!(miss.reason, MissReason::OtherProcess);
    assert_eq!(miss.evidence.key_used_by, Some(2));
    host.diagnoser.process_ended(2, host.now_ns, false);
    assert_eq!(
        host.wait(SECOND).reason(443, offer(2)),
        MissReason::Restarted
    );
}

#[test]
fn a_key_is_retired_once_the_service_uses_newer_ones() {
    for kind in [Offered::Psk as fn(u64, u32) -> Offered, Offered::Ticket] {
        let mut host = Host::new();
        host.handshake(443, kind(1, 7), true, Offered::Nothing);
        assert_eq!(
            host.reason(443, kind(2, 7)),
            MissReason::Unknown,
            "no newer key"
        );
        for ticket in 10..13 {
            host.wait(SECOND)
                .handshake(443, kind(ticket, 8), true, Offered::Nothing);
        }
        assert_eq!(host.reason(443, kind(2, 7)), MissReason::RetiredKey);
        // Two names with keys of their own are used side by side.
        host.handshake(443, kind(1, 7), true, Offered::Nothing);
        assert_eq!(host.reason(443, kind(2, 7)), MissReason::Unknown);
    }
}

#[test]
fn a_key_of_another_service_is_foreign() {
    let mut host = Host::new();
    host.full(8443, Offered::Ticket(1, 7));
    host.full(443, Offered::Ticket(2, 8));
    assert_eq!(
        host.reason(443, Offered::Ticket(1, 7)),
        MissReason::ForeignKey
    );
    assert_eq!(host.reason(443, Offered::Ticket(9, 9)), MissReason::Unknown);
}

#[test]
fn an_unseen_key_is_not_foreign_to_a_client_with_a_session_of_the_service() {
    let mut host = Host::new();
    host.handshake(443, offer(7), true, Offered::Psk(1, 0));
    for _ in 0..40 {
        host.wait(LIFETIME / 2);
        assert_eq!(host.reason(443, offer(9)), MissReason::Unknown);
        host.handshake(443, offer(7), true, Offered::Psk(1, 0));
    }
    // Another client never got a session here, and only one key has been in use for long.
    host.client = 3;
    assert_eq!(host.reason(443, offer(9)), MissReason::ForeignKey);
}

#[test]
fn a_restart_is_recognised_although_tls13_tickets_are_encrypted() {
    let mut host = Host::new();
    for id in 0..40 {
        host.full(443, Offered::Psk(id, 0));
    }
    host.diagnoser.process_ended(443, host.now_ns, false);
    host.wait(SECOND).tgid = Some(9);
    for ticket in 0..40 {
        let miss = host.handshake(
            443,
            Offered::Psk(500 + ticket, 7),
            false,
            Offered::Psk(600, 0),
        );
        assert_eq!(miss.expect("a miss").reason, MissReason::Restarted);
    }
}

#[test]
fn a_client_of_another_service_has_its_key() {
    let mut host = Host::new();
    host.full(8443, Offered::Psk(1, 0));
    assert_eq!(host.reason(443, offer(7)), MissReason::ForeignKey);
    // The service has given it a TLS 1.3 session since: the next key may be its own.
    assert_eq!(host.reason(443, offer(8)), MissReason::Unknown);
}

#[test]
fn a_key_that_was_attributed_once_is_remembered() {
    let mut host = Host::new();
    host.full(8443, Offered::Psk(1, 0));
    for ticket in 0..40 {
        let offered = Offered::Psk(100 + ticket, 7);
        let miss = host.handshake(443, offered, false, Offered::Psk(200 + ticket, 0));
        assert_eq!(miss.expect("a miss").reason, MissReason::ForeignKey);
    }
}

#[test]
fn three_tickets_under_an_unseen_key_show_a_worker_with_a_key_of_its_own() {
    for per_connection in [false, true] {
        let mut host = Host::new();
        for worker in [1, 2, 1, 2] {
            host.wait(SECOND).tgid = Some(worker);
            host.full(443, Offered::Psk(u64::from(worker), 0));
        }
        host.tgid = Some(1);
        let reasons: Vec<_> = (0..4)
            .map(|number| {
                let key = if per_connection { 10 + number } else { 10 };
                host.reason(443, Offered::Psk(100 + u64::from(number), key))
            })
            .collect();
        let later = match per_connection {
            true => MissReason::Unknown,
            false => MissReason::OtherProcess,
        };
        assert_eq!(reasons[..2], [MissReason::Unknown; 2]);
        assert!(
            reasons[2..].iter().all(|reason| *reason == later),
            "{reasons:?}"
        );
    }
}

#[test]
fn restarts_and_known_keys_do_not_mix() {
    let mut host = Host::new();
    host.handshake(443, offer(7), true, Offered::Nothing);
    host.diagnoser.process_ended(443, host.now_ns, false);
    host.wait(SECOND).tgid = Some(9);
    assert_eq!(host.reason(443, offer(7)), MissReason::Restarted);
    // The keys are in a file.
    host.handshake(443, offer(7), true, Offered::Nothing);
    assert_eq!(
        host.reason(443, Offered::Psk(2_000, 7)),
        MissReason::Unknown
    );
}

#[test]
fn tickets_without_key_names_are_never_foreign_nor_retired() {
    let mut host = Host::new();
    host.wire_only = true;
    // Four days of a single-node broker; the first bytes of each ticket are random.
    for hour in 0..96_u32 {
        host.wait(3_600 * SECOND);
        let ticket = Offered::Psk(u64::from(hour), 1 + hour);
        host.handshake(443, ticket, true, Offered::Nothing);
        // Accepting one ticket twice does not make its beginning a name.
        host.handshake(443, ticket, true, Offered::Nothing);
        let missed = Offered::Psk(10_000 + u64::from(hour), 20_000 + hour);
        assert_eq!(host.reason(443, missed), MissReason::Unknown);
        let old = Offered::Ticket(20_000 + u64::from(hour), 1 + hour / 2);
        assert_eq!(host.reason(443, old), MissReason::Unknown);
    }
    let mut seen = host.observation(443, offer(900_000), true, Offered::Nothing);
    host.diagnoser.diagnose(&mut seen);
    assert_eq!(seen.ticket_key(), None, "no key series");
}

#[test]
fn key_names_are_learned_from_two_tickets() {
    let mut host = Host::new();
    host.wire_only = true;
    host.full(443, Offered::Ticket(1, 7));
    host.full(443, Offered::Ticket(2, 7));
    let mut seen = host.observation(443, Offered::Ticket(2, 7), true, Offered::Nothing);
    host.diagnoser.diagnose(&mut seen);
    assert!(seen.ticket_key().is_some());
}

#[test]
fn from_the_wire_alone_a_new_listener_is_a_restart_and_nothing_is_refused() {
    let mut host = Host::new();
    host.wire_only = true;
    host.full(443, Offered::Ticket(1, 7));
    host.full(443, Offered::Ticket(2, 8));
    let unknown = host.reason(443, Offered::Ticket(1, 7));
    assert_eq!(unknown, MissReason::Unknown, "no process is known");
    host.tgid = Some(5);
    host.full(443, Offered::Ticket(3, 9));
    host.wait(SECOND).tgid = Some(6);
    assert_eq!(
        host.reason(443, Offered::Ticket(3, 9)),
        MissReason::Restarted
    );
}

#[test]
fn a_ticket_expires_and_is_refused_by_what_was_issued() {
    let mut host = Host::new();
    host.session.lookup = Lookup::Unobserved;
    host.full(443, Offered::Ticket(1, 7));
    assert_eq!(
        host.reason(443, Offered::Ticket(99, 7)),
        MissReason::Unknown
    );
    for (answer, reason) in [(7, MissReason::Refused), (8, MissReason::Unknown)] {
        let offered = Offered::Ticket(1, 7);
        let miss = host.handshake(443, offered, false, Offered::Ticket(50, answer));
        assert_eq!(miss.expect("a miss").reason, reason, "{answer}");
    }
    host.wait(2 * LIFETIME);
    assert_eq!(host.reason(443, Offered::Ticket(1, 7)), MissReason::Expired);
}

#[test]
fn many_workers_with_a_key_each_have_no_key_per_connection() {
    let mut host = Host::new();
    for ticket in 0..200_u64 {
        // Each client returns to another worker.
        let worker = 1 + (ticket * 7 % 32) as u32;
        let offered = match ticket {
            0 => Offered::Nothing,
            _ => Offered::Ticket(ticket - 1, 100 + 1 + ((ticket - 1) * 7 % 32) as u32),
        };
        host.wait(SECOND).tgid = Some(worker);
        let issued = Offered::Ticket(ticket, 100 + worker);
        let miss = host.handshake(443, offered, false, issued);
        let reason = miss.map(|miss| miss.reason);
        assert_ne!(reason, Some(MissReason::RetiredKey), "{ticket}");
    }
}

#[test]
fn a_context_per_connection_has_a_key_per_connection() {
    let mut host = Host::new();
    for ticket in 0..20 {
        let issued = Offered::Ticket(ticket, 100 + ticket as u32);
        let offered = match ticket {
            0 => Offered::Nothing,
            _ => Offered::Ticket(ticket - 1, 99 + ticket as u32),
        };
        host.wait(SECOND).tgid = Some(1 + ticket as u32 % 3);
        let miss = host.handshake(443, offered, false, issued);
        let reason = miss.map(|miss| miss.reason);
        assert_ne!(reason, Some(MissReason::OtherProcess), "{ticket}");
    }
    let miss = host.handshake(443, Offered::Ticket(5, 105), false, Offered::Nothing);
    let miss = miss.expect("a miss");
    assert!(miss.evidence.per_connection_keys);
    assert_eq!(miss.reason, MissReason::RetiredKey);
}
