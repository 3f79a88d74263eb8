//! Tests of the join: the records of wire and library of one handshake are counted once.

use std::sync::Arc;

use proptest::prelude::*;
use reprise_ebpf::{
    Socket,
    handshake::{HandshakeEvent, flag as library_flag, outcome, role, socket_source},
};
use zerocopy::FromZeros as _;

use super::{BOUNDS, MS, Run, handshake as library_event, run};
use crate::{
    model::{
        FailureCause as Cause, Mechanism, Observation, Offer, OfferOutcome, Outcome, Owner,
        Resumption, Role, Source, WireHandshake,
    },
    pipeline::{
        correlate::{
            SETTLE_NS,
            wire_handshakes::{WAIT_NS, WireHandshakes},
        },
        event::Event,
        record::Record,
        socket::connection,
        wire::{TokenRecord, WireRecord, end, flag},
        workload::WorkloadEvent,
    },
};

/// The handshake that a record decodes to.
fn decoded(record: WireRecord) -> Arc<WireHandshake> {
    match Event::from(&Record::Wire(record)) {
        Event::Wire(handshake) => handshake,
        other => panic!("{other:?}"),
    }
}

fn is_wire(seen: &Observation) -> bool {
    seen.source == Source::Wire
}

pub(super) fn hello(role: u8, random: u8, port: u16, begin: u64, end_ns: u64) -> WireRecord {
    let mut hello = WireRecord::new_zeroed();
    hello.header.time_ns = end_ns;
    hello.begin_ns = begin;
    hello.client_random = [random; 32];
    hello.role = role;
    hello.version = 0x0304;
    hello.offered_version = 0x0304;
    hello.flags = flag::OFFER_READ | flag::ANSWER_READ;
    hello.end = end::COMPLETED;
    hello.socket = super::socket(port);
    hello
}

pub(super) fn library(random: u8, port: u16, begin: u64, end_ns: u64) -> HandshakeEvent {
    let mut event = library_event(port, begin, end_ns);
    event.flags = library_flag::RANDOM;
    event.client_random = [random; 32];
    event
}

fn token(hash: u64, length: u32) -> TokenRecord {
    TokenRecord {
        hash,
        key: 0,
        length,
    }
}

fn offers(seen: &[Observation]) -> Vec<Offer> {
    seen.iter().map(|seen| seen.offer).collect()
}

#[test]
fn wire_and_library_are_one_handshake() {
    let mut resumed = library(1, 1, 10 * MS, 12 * MS);
    resumed.hit = 1;
    let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
    shown.identity_count = 1;
    shown.flags |= flag::PSK_ACCEPTED;
    for events in [
        [Record::Wire(shown), Record::Handshake(resumed)],
        [Record::Handshake(resumed), Record::Wire(shown)],
    ] {
        let seen = run(&events);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].offer, Offer::Session(Mechanism::Psk));
        assert!(!is_wire(&seen[0]) && !seen[0].conflict);
        assert_eq!(seen[0].hello, Some(decoded(shown).hello));
    }
}

#[test]
fn disagreement_is_counted_and_the_library_wins() {
    let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
    shown.identity_count = 1;
    shown.flags |= flag::PSK_ACCEPTED;
    let seen = run(&[
        Record::Wire(shown),
        Record::Handshake(library(1, 1, 10 * MS, 12 * MS)),
    ]);
    assert!(seen[0].conflict);
    assert_eq!(seen[0].outcome, Outcome::Completed(Resumption::Full));
}

#[test]
fn unmatched_wire_handshake_is_observed_after_the_wait() {
    let mut run = Run::new(BOUNDS);
    let shown = hello(role::CLIENT, 1, 1, 10 * MS, 12 * MS);
    run.push(&Record::Wire(shown));
    run.push(&Record::Tick(12 * MS + WAIT_NS - 1));
    assert!(run.found.seen.is_empty());
    run.push(&Record::Tick(12 * MS + WAIT_NS));
    assert_eq!(run.found.seen.len(), 1);
    let seen = run.found.seen[0];
    assert!(is_wire(&seen));
    assert_eq!(seen.role, Role::Client);
    assert_eq!(seen.outcome, Outcome::Completed(Resumption::Full));
    assert_eq!(seen.duration_ns, 2 * MS);
    // The library's record arrives far too late: the handshake is already counted.
    let mut late = library(1, 1, 10 * MS, 5_000 * MS);
    late.role = role::CLIENT;
    run.push(&Record::Handshake(late));
    run.finish();
    assert_eq!(run.found.seen.len(), 1);
    assert_eq!(run.engine.tracked().wires, 0);
}

/// A busy host delays the agent, so that it reads the events of each sensor in a long block.
#[test]
fn a_block_of_one_sensor_concludes_nothing_of_the_others() {
    let (tcp, later) = (
        super::tcp_event(reprise_ebpf::tcp::STALL, 2, 900 * MS),
        4_000 * MS,
    );
    let mut offering = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
    offering.identity_count = 1;
    let handshake = Record::Handshake(library(1, 1, 10 * MS, 12 * MS));
    let other = Record::Wire(hello(role::SERVER, 2, 2, 10 * MS, later));
    let owner = Owner::from_workload("server");
    let workload = Record::Workload(Box::new(WorkloadEvent::new(0, 7, &owner, later)));
    for events in [
        [
            handshake.clone(),
            workload.clone(),
            Record::Tcp(tcp),
            Record::Wire(offering),
            other.clone(),
        ],
        [
            Record::Wire(offering),
            other,
            workload,
            Record::Tcp(tcp),
            handshake,
        ],
    ] {
        let mut run = Run::new(BOUNDS);
        for event in &events {
            run.push_early(event);
        }
        assert!(run.found.seen.is_empty());
        run.push(&Record::Tick(later));
        assert_eq!(offers(&run.found.seen), [Offer::Session(Mechanism::Psk)]);
        assert!(!is_wire(&run.found.seen[0]));
    }
}

#[test]
fn late_wire_record_is_not_counted_again() {
    let mut run = Run::new(BOUNDS);
    let mut push = |record| run.push(&record);
    push(Record::Handshake(library(1, 1, 10 * MS, 12 * MS)));
    push(Record::Tick(12 * MS + SETTLE_NS));
    push(Record::Wire(hello(role::SERVER, 1, 1, 10 * MS, 900 * MS)));
    run.finish();
    assert_eq!(run.found.seen.len(), 1);
    assert!(!is_wire(&run.found.seen[0]));
}

#[test]
fn client_hello_after_the_server_abandoned_belongs_to_the_same_handshake() {
    let mut abandoned = library_event(1, 10 * MS, 2_010 * MS);
    abandoned.outcome = outcome::FREED;
    let late = |begin| {
        let mut late = hello(role::SERVER, 1, 1, begin, begin + MS);
        late.flags = flag::OFFER_READ;
        late.end = end::CLOSED_OUT;
        run(&[Record::Handshake(abandoned), Record::Wire(late)])
    };
    assert_eq!(late(6_000 * MS).len(), 1);
    // Another connection with the same addresses.
    assert_eq!(late(70_000 * MS).len(), 2);
}

#[test]
fn both_ends_on_one_host_are_two_handshakes() {
    let seen = run(&[
        Record::Wire(hello(role::CLIENT, 1, 1, 10 * MS, 12 * MS)),
        Record::Wire(hello(role::SERVER, 1, 2, 10 * MS + 1, 12 * MS)),
    ]);
    assert_eq!(seen.len(), 2);
}

#[test]
fn both_ends_with_the_same_begin_are_matched_by_role() {
    // Both orders of arrival, with and without the libraries' records.
    let client = Record::Wire(hello(role::CLIENT, 1, 1, 10 * MS, 12 * MS));
    let server = Record::Wire(hello(role::SERVER, 1, 2, 10 * MS, 12 * MS));
    let mut by_client = library(1, 1, 9 * MS, 13 * MS);
    by_client.role = role::CLIENT;
    let by_server = Record::Handshake(library(1, 2, 9 * MS, 13 * MS));
    let by_client = Record::Handshake(by_client);
    for ends in [[client.clone(), server.clone()], [server, client]] {
        let seen = run(&ends);
        assert_eq!(offers(&seen), [Offer::Nothing; 2]);
        let seen = run(&[&ends[..], &[by_server.clone(), by_client.clone()]].concat());
        assert_eq!(offers(&seen), [Offer::Nothing; 2]);
        assert!(!seen.iter().any(is_wire));
    }
}

#[test]
fn failed_and_unread_handshakes_keep_what_is_known_of_their_offer() {
    let mut failed = library(1, 1, 10 * MS, 12 * MS);
    failed.outcome = outcome::FAILED;
    failed.reason = 193;
    let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
    shown.identity_count = 1;
    let seen = run(&[Record::Wire(shown), Record::Handshake(failed)]);
    assert_eq!(
        seen[0].offer_outcome(),
        Some(OfferOutcome::Failed(Mechanism::Psk, Cause::LocalError))
    );
    // Without the wire's record the offer of a failed handshake is not known, nor is a completed
    // one's.
    let unread = library(2, 2, 10 * MS, 12 * MS);
    let seen = run(&[Record::Handshake(failed), Record::Handshake(unread)]);
    assert_eq!(seen[0].offer_outcome(), None);
    assert_eq!(seen[1].offer_outcome(), Some(OfferOutcome::Unknown));
}

#[test]
fn relays_do_not_count() {
    // Client on this host, through a relay on this host, to a server on this host: each socket
    // shows the same random.
    let sockets = [
        hello(role::CLIENT, 1, 1, 10 * MS, 20 * MS),
        hello(role::SERVER, 1, 2, 11 * MS, 19 * MS),
        hello(role::CLIENT, 1, 3, 12 * MS, 18 * MS),
        hello(role::SERVER, 1, 4, 13 * MS, 17 * MS),
    ];
    let seen = run(&sockets.map(Record::Wire));
    let ports: Vec<_> = seen
        .iter()
        .map(|seen| (seen.role, seen.connection.unwrap().remote.port()))
        .collect();
    assert_eq!(ports, [(Role::Client, 1), (Role::Server, 4)]);
    // A relay alone: both ends are elsewhere.
    assert!(run(&[sockets[1], sockets[2]].map(Record::Wire)).is_empty());
    // A library's handshake without a socket is matched to the right one.
    let mut blind = library(1, 1, 10 * MS, 17 * MS);
    blind.socket_source = socket_source::NONE;
    blind.socket = Socket::default();
    let events = sockets.map(Record::Wire);
    let seen = run(&[&events[..], &[Record::Handshake(blind)]].concat());
    let server = seen.iter().find(|seen| seen.role == Role::Server).unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        server.connection,
        connection(&sockets[3].socket),
        "{server:?}"
    );
}

#[test]
fn without_a_random_the_socket_is_matched() {
    let blind = library_event(7, 10 * MS, 12 * MS);
    let seen = run(&[
        Record::Wire(hello(role::SERVER, 9, 7, 10 * MS, 12 * MS)),
        Record::Handshake(blind),
    ]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].offer, Offer::Nothing);
    // A ClientHello on the same port long after does not match.
    let seen = run(&[
        Record::Handshake(blind),
        Record::Tick(500 * MS),
        Record::Wire(hello(role::SERVER, 9, 7, 900 * MS, 902 * MS)),
    ]);
    assert_eq!(seen.len(), 2);
    assert_eq!(offers(&seen), [Offer::Unknown, Offer::Nothing]);
}

#[test]
fn library_handshakes_are_never_dropped_for_their_random() {
    // A server that fails before a ClientHello has no random; a reused object has its last one.
    let mut before_any = library(0, 1, 10 * MS, 12 * MS);
    before_any.outcome = outcome::FAILED;
    let mut again = library(3, 1, 20 * MS, 22 * MS);
    again.outcome = outcome::FREED;
    let seen = run(&[
        Record::Handshake(before_any),
        Record::Handshake(before_any),
        Record::Handshake(library(3, 1, 10 * MS, 12 * MS)),
        Record::Handshake(again),
    ]);
    assert_eq!(seen.len(), 4);
}

#[test]
fn failures_on_the_wire_have_causes() {
    for (how, cause) in [
        (end::ALERT_IN, Cause::AlertReceived),
        (end::ALERT_OUT, Cause::AlertSent),
        (end::CLOSED_IN, Cause::Closed),
        (end::CLOSED_OUT, Cause::Abandoned),
        (end::RESET, Cause::Reset),
    ] {
        let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
        shown.end = how;
        assert_eq!(
            run(&[Record::Wire(shown)])[0].outcome,
            Outcome::Failed(cause)
        );
    }
    let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
    shown.end = end::UNKNOWN;
    assert!(run(&[Record::Wire(shown)]).is_empty());
}

#[test]
fn session_ids_are_offers_unless_they_may_be_random() {
    let shown = |version, offered_version, id: TokenRecord, flags| {
        let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 12 * MS);
        shown.version = version;
        shown.offered_version = offered_version;
        shown.session_id = id;
        shown.flags |= flags;
        shown
    };
    let offer = |hello: WireRecord| run(&[Record::Wire(hello)])[0].offer;
    let id = token(5, 32);
    let session = Offer::Session(Mechanism::SessionId);
    let (full, taken) = (flag::FULL, flag::ID_ECHOED | flag::SERVER_CIPHERED);
    assert_eq!(offer(shown(0x0304, 0x0304, id, 0)), Offer::Nothing);
    assert_eq!(offer(shown(0x0303, 0x0303, id, full)), session);
    assert_eq!(offer(shown(0x0303, 0x0304, id, full)), Offer::Nothing);
    let (tickets, go) = (full | flag::TICKETS, flag::TICKETS | flag::TIMESTAMPS);
    assert_eq!(offer(shown(0x0303, 0x0303, id, tickets)), session);
    assert_eq!(offer(shown(0x0303, 0x0303, id, full | go)), Offer::Nothing);
    assert_eq!(offer(shown(0x0303, 0x0303, id, taken | go)), session);
    assert_eq!(offer(shown(0x0303, 0x0304, id, taken)), session);
    assert_eq!(offer(shown(0x0303, 0x0304, token(5, 16), full)), session);
    assert_eq!(
        offer(shown(0x0303, 0x0303, TokenRecord::NONE, full)),
        Offer::Nothing
    );
    // Issued on this host before: not a random number.
    let mut first = shown(0x0303, 0x0304, token(8, 32), full);
    first.given_id = id;
    let mut second = shown(0x0303, 0x0304, id, full);
    second.client_random = [2; 32];
    second.given_id = token(6, 32);
    assert_eq!(
        offers(&run(&[Record::Wire(first), Record::Wire(second)])),
        [Offer::Nothing, session]
    );
    let mut ticket = shown(0x0303, 0x0303, id, full);
    ticket.ticket = token(7, 160);
    assert_eq!(offer(ticket), Offer::Session(Mechanism::Ticket));
}

#[test]
fn waiting_handshakes_are_bounded_and_evictions_are_counted() {
    let mut waiting = WireHandshakes::new(4);
    for random in 1..=10 {
        waiting.insert(decoded(hello(
            role::SERVER,
            random,
            u16::from(random),
            MS,
            2 * MS,
        )));
    }
    assert_eq!((waiting.len(), waiting.evicted()), (4, 6));
    // Always the same random: each connection waits, up to the same bound.
    let mut waiting = WireHandshakes::new(50);
    for port in 1..=100 {
        waiting.insert(decoded(hello(role::SERVER, 1, port, MS, 2 * MS)));
    }
    assert_eq!((waiting.len(), waiting.evicted()), (50, 50));
    // The same connection again while it waits.
    waiting.insert(decoded(hello(role::SERVER, 1, 100, 3 * MS, 4 * MS)));
    assert_eq!(waiting.len() as u64 + waiting.evicted(), 101);
}

fn any_event() -> impl Strategy<Value = Record> {
    let (random, at) = (0..12_u8, 0..9_000 * MS);
    prop_oneof![
        (random.clone(), at.clone(), 0..2_u8).prop_map(|(random, at, role)| Record::Wire(hello(
            role,
            random,
            u16::from(random) + 1,
            at,
            at + MS
        ))),
        (random, at.clone(), 0..2_u8).prop_map(|(random, at, role)| {
            let mut event = library(random, u16::from(random) + 1, at, at + MS);
            event.role = role;
            event.outcome = outcome::COMPLETED;
            Record::Handshake(event)
        }),
        at.prop_map(Record::Tick),
    ]
}

proptest! {
    #[test]
    fn each_handshake_is_counted_once_in_any_order(
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        // At most one record of each kind per role and random.
        let mut names = std::collections::HashSet::new();
        let events: Vec<_> = events.into_iter().filter(|event| match event {
            Record::Wire(hello) => names.insert((0, hello.role, hello.client_random)),
            Record::Handshake(event) => names.insert((1, event.role, event.client_random)),
            _ => true,
        }).collect();
        let by_library = names.iter().filter(|name| name.0 == 1).count();
        let seen = run(&events);
        let mut counted = std::collections::HashSet::new();
        for one in &seen {
            if let Some(hello) = &one.hello {
                prop_assert!(counted.insert((one.role, hello.client_random)), "{:?}", one);
            }
        }
        // Each library handshake is there: by itself or, if it was late, from the wire.
        let late = seen.iter().filter(|one| is_wire(one)).count();
        prop_assert!(seen.len() >= by_library && seen.len() - late <= by_library);
    }
}
