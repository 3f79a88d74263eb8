//! Tests of reassembly and parsing, on handshakes of OpenSSL 3.0 (`fixtures/make.py`: both streams
//! of a connection, with keys of that one run), cut into segments as the packet programs do.

mod kernel;

use proptest::prelude::*;
use reprise_ebpf::{
    handshake::role,
    wire::{direction, what},
};

use self::kernel::{Sent, cut, fixture, handshake};
use super::{Limits, TokenRecord, Tracker, WireRecord, end, flag};
use crate::pipeline::socket::socket_address;

const LIMITS: Limits = Limits {
    max_connections: 64,
    max_bytes: 1 << 20,
};

fn run(sent: &[Sent]) -> Vec<WireRecord> {
    let mut tracker = Tracker::new(LIMITS);
    let mut seen = Vec::new();
    for (segment, bytes) in sent {
        let event = kernel::bytes(segment, bytes);
        tracker.push(&event, &mut |hello| seen.push(hello)).unwrap();
    }
    seen
}

/// The one event of a handshake, as the server's host sees it.
fn read(name: &str) -> WireRecord {
    let seen = run(&handshake(name, direction::IN, &[]));
    let [hello] = seen[..] else {
        panic!("{name}: {seen:?}");
    };
    assert_eq!(hello.role, role::SERVER);
    hello
}

#[test]
fn full_handshakes_offer_no_session() {
    for (name, version) in [
        ("tls13_full", 0x0304),
        ("tls12_ticket_full", 0x0303),
        ("tls12_id_full", 0x0303),
        ("tls12_id_full_by_13", 0x0303),
        ("tls13_retry", 0x0304),
    ] {
        let hello = read(name);
        assert_eq!(hello.end, end::COMPLETED, "{name}");
        assert_eq!(hello.version, version, "{name}");
        assert_eq!(hello.resumed(), Some(false), "{name}");
        assert_eq!(
            (hello.ticket, hello.identity_count),
            (TokenRecord::NONE, 0),
            "{name}"
        );
        assert_ne!(hello.client_random, [0; 32], "{name}");
    }
    // The legacy field of a client that supports TLS 1.3.
    assert_eq!(read("tls13_full").session_id.length, 32);
    assert_eq!(read("tls12_id_full").session_id, TokenRecord::NONE);
    assert_eq!(read("tls12_id_full").offered_version, 0x0303);
    assert_eq!(read("tls12_id_full_by_13").offered_version, 0x0304);
}

#[test]
fn tls13_identity_key_and_outcome_are_read() {
    let (accepted, missed) = (read("tls13_psk"), read("tls13_missed"));
    assert_eq!(accepted.resumed(), Some(true));
    assert_eq!(missed.resumed(), Some(false));
    assert_eq!((accepted.identity_count, missed.identity_count), (1, 1));
    // The same ticket was offered to two servers.
    assert_eq!(accepted.identities[0], missed.identities[0]);
    assert_ne!(accepted.identities[0].key, 0);
    assert!(accepted.has(flag::PSK_DHE_KE) && !accepted.has(flag::PSK_KE));
}

#[test]
fn tls12_issued_and_offered_tickets_are_equal() {
    let given = read("tls12_ticket_full");
    let (accepted, missed) = (read("tls12_ticket"), read("tls12_ticket_missed"));
    assert_eq!(given.given_ticket, accepted.ticket);
    assert_eq!(given.given_ticket, missed.ticket);
    assert_ne!(given.given_ticket.key, 0);
    assert_eq!(given.lifetime, 7200);
    assert_eq!(accepted.resumed(), Some(true));
    assert_eq!(missed.resumed(), Some(false));
    // Another server, another key.
    assert_ne!(missed.given_ticket.key, given.given_ticket.key);
}

#[test]
fn tls12_issued_and_offered_session_ids_are_equal() {
    let given = read("tls12_id_full");
    let (accepted, missed) = (read("tls12_id"), read("tls12_id_missed"));
    assert_eq!(given.given_id, accepted.session_id);
    assert_eq!(given.given_id, missed.session_id);
    assert!(accepted.has(flag::ID_ECHOED) && !missed.has(flag::ID_ECHOED));
    assert_eq!(accepted.resumed(), Some(true));
    assert_eq!(missed.resumed(), Some(false));
    let by_13 = read("tls12_id_by_13");
    assert_eq!(by_13.session_id, read("tls12_id_full_by_13").given_id);
    assert_eq!(by_13.resumed(), Some(true));
}

#[test]
fn failures_have_the_direction_of_the_alert() {
    // The client rejects the certificate: an alert in clear, then an encrypted one; the server has
    // no cipher in common.
    for (name, at_server, at_client) in [
        ("tls12_refused", end::ALERT_IN, end::ALERT_OUT),
        ("tls13_refused", end::ALERT_IN, end::ALERT_OUT),
        ("tls12_no_cipher", end::ALERT_OUT, end::ALERT_IN),
    ] {
        assert_eq!(read(name).end, at_server, "{name}");
        let seen = run(&handshake(name, direction::OUT, &[]));
        assert_eq!(seen.len(), 1, "{name}");
        assert_eq!(seen[0].role, role::CLIENT, "{name}");
        assert_eq!(seen[0].end, at_client, "{name}");
    }
    assert_eq!(read("tls12_refused").alert, 48); // unknown_ca
    assert_eq!(read("tls12_no_cipher").alert, 40); // handshake_failure
}

#[test]
fn a_second_client_hello_replaces_the_first() {
    let hello = read("tls13_retry");
    assert!(hello.has(flag::RETRY | flag::OFFER_READ | flag::ANSWER_READ));
    let mut first = Vec::new();
    let client = fixture("tls13_retry", "client");
    cut(&client[..600], 1, direction::IN, &[], &mut first);
    // The server has not answered: no end yet.
    assert!(run(&first).is_empty());
}

#[test]
fn connections_without_end_are_evicted_and_counted() {
    let mut tracker = Tracker::new(Limits {
        max_connections: 4,
        ..LIMITS
    });
    let mut seen = 0;
    for cookie in 1..=10 {
        let mut sent = Vec::new();
        cut(
            &fixture("tls13_full", "client")[..400],
            1,
            direction::IN,
            &[],
            &mut sent,
        );
        for (mut segment, bytes) in sent {
            segment.socket.cookie = cookie;
            let event = kernel::bytes(&segment, &bytes);
            tracker.push(&event, &mut |_| seen += 1).unwrap();
        }
    }
    assert_eq!((tracker.len(), tracker.evicted(), seen), (4, 6, 6));
    tracker.expire(1_000_000_000_000, &mut |hello| {
        assert_eq!(hello.end, end::UNKNOWN);
        seen += 1;
    });
    assert_eq!((tracker.len(), tracker.evicted(), seen), (0, 10, 10));
}

#[test]
fn memory_is_bounded_over_all_connections() {
    let mut tracker = Tracker::new(Limits {
        max_connections: 1_000,
        max_bytes: 10_000,
    });
    // 400 bytes of a ClientHello each, the rest does not arrive.
    let mut sent = Vec::new();
    cut(
        &fixture("tls13_full", "client")[..405],
        1,
        direction::IN,
        &[],
        &mut sent,
    );
    for cookie in 1..=100 {
        for (segment, bytes) in &sent {
            let mut segment = *segment;
            segment.socket.cookie = cookie;
            let event = kernel::bytes(&segment, bytes);
            tracker.push(&event, &mut |_| {}).unwrap();
        }
    }
    assert!(tracker.held <= 10_000, "{}", tracker.held);
    assert_eq!(tracker.len() as u64 + tracker.evicted(), 100);
    assert!(tracker.len() > 20);
}

#[test]
fn segments_of_the_listener_belong_to_the_accepted_socket() {
    let mut sent = handshake("tls12_id", direction::IN, &[]);
    sent[0].0.socket.cookie = 0;
    let seen = run(&sent);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].end, end::COMPLETED);
    assert_ne!(seen[0].socket.cookie, 0);
}

/// A segment that ends a connection of this age.
fn ending(what: u8, way: u8, age_ms: u32) -> Sent {
    let mut sent = handshake("tls13_full", direction::IN, &[]).remove(0);
    sent.0.header.time_ns = 9_000_000_000;
    sent.0.what = what;
    sent.0.direction = way;
    sent.0.length = 0;
    sent.0.age_ms = age_ms;
    (sent.0, Vec::new())
}

#[test]
fn end_of_a_silent_connection_is_a_record_without_an_offer() {
    for (kind, way, how) in [
        (what::SILENT_FIN, direction::IN, end::CLOSED_IN),
        (what::SILENT_FIN, direction::OUT, end::CLOSED_OUT),
        (what::SILENT_RESET, direction::IN, end::RESET),
    ] {
        let seen = run(&[ending(kind, way, 5_000)]);
        let [record] = seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!((record.end, record.role), (how, role::SERVER));
        assert!(!record.has(flag::OFFER_READ));
        assert_eq!(record.begin_ns, 4_000_000_000);
        assert_eq!(
            (record.header.time_ns, record.silence_ms),
            (9_000_000_000, 5_000)
        );
    }
    // The end of a connection that was not followed is not one of a silent one.
    assert!(run(&[ending(what::FIN, direction::IN, 5_000)]).is_empty());
}

#[test]
fn half_a_client_hello_begins_with_its_connection() {
    let mut sent = Vec::new();
    let half = &fixture("tls13_full", "client")[..100];
    cut(half, 1, direction::IN, &[], &mut sent);
    let mut unknown = sent.clone();
    sent.push(ending(what::FIN, direction::IN, 5_000));
    let seen = run(&sent);
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].has(flag::OFFER_READ));
    assert_eq!(
        (seen[0].end, seen[0].begin_ns),
        (end::CLOSED_IN, 4_000_000_000)
    );
    unknown.push(ending(what::FIN, direction::IN, 0));
    assert_eq!(run(&unknown)[0].begin_ns, 1_000);
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "tls13_full",
        "tls13_psk",
        "tls13_retry",
        "tls13_refused",
        "tls12_ticket_full",
        "tls12_ticket",
        "tls12_id",
        "tls12_id_missed",
        "tls12_refused",
    ])
}

proptest! {
    #[test]
    fn segmentation_duplicates_and_order_do_not_matter(
        name in any_name(),
        sizes in prop::collection::vec(1..300_usize, 0..16),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let plain = run(&handshake(name, direction::IN, &[]));
        let mut sent = handshake(name, direction::IN, &sizes);
        for index in repeated {
            let again = index.index(sent.len());
            let copy = sent[again].clone();
            sent.insert(again + 1, copy);
        }
        for index in swaps {
            // Neighbours of one direction, pieces both: a record's header stays in place.
            let at = index.index(sent.len());
            let pieces = |sent: &[Sent]| sent[0].0.direction == sent[1].0.direction
                && sent.iter().all(|(_, bytes)| !bytes.is_empty());
            let first_of_direction = sent.iter()
                .position(|(segment, _)| segment.direction == sent[at].0.direction);
            if at + 1 < sent.len() && first_of_direction != Some(at) && pieces(&sent[at..at + 2]) {
                sent.swap(at, at + 1);
            }
        }
        prop_assert_eq!(run(&sent), plain);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let mut tracker = Tracker::new(LIMITS);
        for event in events {
            let _ = tracker.push(&event, &mut |_| {});
        }
    }

    #[test]
    fn damaged_hellos_do_not_panic(
        name in any_name(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut sent = handshake(name, direction::IN, &[40, 90, 200]);
        for (index, byte) in damage {
            let at = index.index(sent.len());
            if let Some(last) = sent[at].1.last_mut() {
                *last = byte;
            }
            sent[at].0.seq ^= u32::from(byte);
        }
        let seen = run(&sent);
        prop_assert!(seen.len() <= sent.len());
    }
}

#[test]
fn records_that_the_kernel_skipped_leave_no_gap() {
    // Early data of 95 bytes with its headers between the ClientHello and its end.
    let mut sent = handshake("tls13_psk", direction::IN, &[]);
    let (last, _) = sent.last_mut().unwrap();
    assert_eq!(last.what, what::APPLICATION_DATA);
    last.seq = last.seq.wrapping_add(95);
    assert_eq!(run(&sent), []);
    sent.last_mut().unwrap().0.skipped = 95;
    let seen = run(&sent);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].end, end::COMPLETED);
}

/// The segment of a header of the PROXY protocol before the first one of `sent`.
fn proxy_header(sent: &[Sent], header: &str) -> Sent {
    let mut segment = sent[0].0;
    segment.what = what::PROXY;
    segment.length = header.len() as u32;
    (segment, header.as_bytes().to_vec())
}

#[test]
fn a_header_of_the_proxy_protocol_names_the_client() {
    const HEADER: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 4000 443\r\n";
    let mut sent = handshake("tls13_full", direction::IN, &[]);
    let header = proxy_header(&sent, HEADER);
    sent.insert(0, header);
    let client = |sent: &[Sent]| {
        let seen = run(sent);
        let [record] = seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!(record.end, end::COMPLETED);
        assert_eq!(record.has(flag::LATE), sent[1].0.what == what::LATE);
        socket_address(record.proxied, record.proxied_port)
    };
    let expected = "192.0.2.7:4000".parse().ok();
    assert_eq!(client(&sent), expected);
    let mut late = sent[1].clone();
    late.0.what = what::LATE;
    sent.insert(1, late);
    assert_eq!(client(&sent), expected);
    // Seen at the listener, before the socket exists.
    sent[0].0.socket.cookie = 0;
    assert_eq!(client(&sent), expected);
    sent[0].1.truncate(20);
    sent[0].0.length = 20;
    assert_eq!(client(&sent), None, "incomplete");
}

#[test]
fn headers_that_wait_for_a_hello_are_bounded() {
    let sent = handshake("tls13_full", direction::IN, &[]);
    let (mut segment, bytes) = proxy_header(&sent, "PROXY TCP4 192.0.2.7 192.0.2.1 1 443\r\n");
    let mut tracker = Tracker::new(LIMITS);
    for cookie in 1..=5_000 {
        segment.socket.cookie = cookie;
        let event = kernel::bytes(&segment, &bytes);
        tracker.push(&event, &mut |_| {}).unwrap();
    }
    assert_eq!((tracker.preceded.len(), tracker.len()), (4_096, 0));
}
