//! Tests of the engine: joins, causes, settling, and properties over random streams.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use reprise_ebpf::{
    Header, Socket,
    handshake::{
        self, HIT_UNKNOWN, HandshakeEvent, REASON_OTHER, flag, outcome, role, socket_source,
    },
    tcp::{self, TcpEvent},
};
use zerocopy::FromZeros as _;

use super::{
    Bounds, Cause, Direction, End, Engine, Loss, Observation, Phase, Resumption, Role, SETTLE_NS,
    Version,
};
use crate::pipeline::event::Event;

const MS: u64 = 1_000_000;
const BOUNDS: Bounds = Bounds {
    connections: 1024,
    sessions: 1024,
};

fn socket(port: u16) -> Socket {
    let words = |last: u16| {
        let bytes = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, last).octets();
        [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i])))
    };
    Socket {
        local: words(1),
        remote: words(2),
        local_port: 443,
        remote_port: port,
        ..Socket::default()
    }
}

fn handshake(port: u16, begin: u64, end: u64) -> HandshakeEvent {
    let mut event = HandshakeEvent::new_zeroed();
    event.header = Header {
        kind: handshake::HANDSHAKE,
        size: size_of::<HandshakeEvent>() as u32,
        time_ns: end,
    };
    event.ssl = 0x1000;
    event.begin_ns = begin;
    event.library_ns = MS;
    event.heard_ns = end;
    event.tgid = 7;
    event.tid = 7;
    event.drives = 2;
    event.version = 0x0304;
    event.outcome = outcome::COMPLETED;
    event.role = role::SERVER;
    event.socket_source = socket_source::IN_CALL;
    event.socket = socket(port);
    event
}

fn tcp_event(kind: u32, port: u16, at: u64) -> TcpEvent {
    TcpEvent {
        header: Header {
            kind,
            size: 72,
            time_ns: at,
        },
        state: 1,
        reserved: 0,
        socket: socket(port),
    }
}

fn run_all(events: &[Event]) -> (Vec<Observation>, Vec<Loss>) {
    let mut engine = Engine::new(BOUNDS);
    let mut out = Vec::new();
    let mut losses = Vec::new();
    for event in events {
        engine.push(event, &mut |seen| out.push(seen));
        losses.extend(engine.losses());
    }
    engine.finish(&mut |seen| out.push(seen));
    (out, losses)
}

fn run(events: &[Event]) -> Vec<Observation> {
    run_all(events).0
}

#[test]
fn completed_handshake_carries_version_resumption_and_times() {
    let mut event = handshake(1, 10 * MS, 12 * MS);
    event.hit = 1;
    let seen = run(&[Event::Handshake(event)]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].role, Role::Server);
    assert_eq!(seen[0].version, Version::V13);
    assert_eq!(seen[0].end, End::Completed(Resumption::Resumed));
    assert_eq!(seen[0].duration_ns, 2 * MS);
    assert!(!seen[0].trouble.retransmits.any());
}

#[test]
fn what_was_not_read_is_neither_full_nor_resumed() {
    let mut event = handshake(1, 10 * MS, 12 * MS);
    event.hit = HIT_UNKNOWN;
    let seen = run(&[Event::Handshake(event)]);
    assert_eq!(seen[0].end, End::Completed(Resumption::Unknown));
}

#[test]
fn waits_for_tcp_events_that_arrive_later() {
    let mut engine = Engine::new(Bounds {
        connections: 16,
        ..BOUNDS
    });
    let mut out = Vec::new();
    let mut push = |event| engine.push(&event, &mut |seen| out.push(seen));
    push(Event::Handshake(handshake(1, 10 * MS, 900 * MS)));
    push(Event::Tcp(tcp_event(tcp::RETRANSMIT, 1, 300 * MS)));
    push(Event::Tcp(tcp_event(tcp::RETRANSMIT_SYNACK, 1, 5 * MS)));
    push(Event::Tick(900 * MS + SETTLE_NS - 1));
    push(Event::Tick(900 * MS + SETTLE_NS));
    assert_eq!(out.len(), 1);
    let again = out[0].trouble.retransmits;
    assert_eq!(again.of(Phase::Handshake, Direction::Sent), 1);
    assert_eq!(again.of(Phase::SynAck, Direction::Sent), 1);
}

#[test]
fn retransmissions_after_the_end_or_of_others_do_not_count() {
    let seen = run(&[
        Event::Tcp(tcp_event(tcp::RETRANSMIT, 2, 11 * MS)),
        Event::Handshake(handshake(1, 10 * MS, 12 * MS)),
        Event::Tcp(tcp_event(tcp::RETRANSMIT, 1, 13 * MS)),
    ]);
    assert!(!seen[0].trouble.retransmits.any());
}

#[test]
fn causes_follow_the_strongest_evidence() {
    let fail = |change: &dyn Fn(&mut HandshakeEvent), tcp: &[TcpEvent]| {
        let mut event = handshake(1, 10 * MS, 20 * MS);
        event.outcome = outcome::FAILED;
        change(&mut event);
        let mut events: Vec<_> = tcp.iter().copied().map(Event::Tcp).collect();
        events.push(Event::Handshake(event));
        match run(&events)[0].end {
            End::Failed(cause) => cause,
            End::Completed(_) => panic!("failed handshake seen as completed"),
        }
    };
    let lost = [tcp_event(tcp::RETRANSMIT, 1, 15 * MS)];
    let reset = [tcp_event(tcp::RESET_RECEIVED, 1, 19 * MS)];
    let reset_afterwards = [tcp_event(tcp::RESET_RECEIVED, 1, 21 * MS)];
    assert_eq!(fail(&|e| e.reason = 1048, &lost), Cause::AlertReceived);
    assert_eq!(fail(&|e| e.reason = 193, &lost), Cause::LocalError);
    let other = |e: &mut HandshakeEvent| e.reason = REASON_OTHER;
    assert_eq!(fail(&other, &lost), Cause::LocalError);
    assert_eq!(fail(&|_| {}, &lost), Cause::PacketLoss);
    assert_eq!(fail(&|e| e.reason = 294, &lost), Cause::PacketLoss);
    assert_eq!(fail(&|_| {}, &reset), Cause::Reset);
    assert_eq!(fail(&|e| e.outcome = outcome::FREED, &reset), Cause::Reset);
    assert_eq!(
        fail(&|e| e.outcome = outcome::FREED, &reset_afterwards),
        Cause::Abandoned
    );
    assert_eq!(fail(&|e| e.reason = 294, &reset), Cause::Closed);
    assert_eq!(fail(&|e| e.reason = 294, &[]), Cause::Closed);
    assert_eq!(fail(&|_| {}, &[]), Cause::Closed);
    assert_eq!(fail(&|e| e.flags = flag::PEER_CLOSED, &[]), Cause::Closed);
    assert_eq!(fail(&|e| e.flags = flag::SOCKET_CLOSED, &[]), Cause::Reset);
    assert_eq!(fail(&|e| e.outcome = outcome::FREED, &[]), Cause::Abandoned);
    assert_eq!(
        fail(&|e| e.outcome = outcome::RESTARTED, &[]),
        Cause::Abandoned
    );
    assert_eq!(
        fail(&|e| e.outcome = outcome::PROCESS_ENDED, &reset),
        Cause::Abandoned
    );
}

#[test]
fn histories_are_bounded_and_evictions_counted() {
    let mut engine = Engine::new(Bounds {
        connections: 8,
        ..BOUNDS
    });
    for port in 1..=20 {
        engine.push(
            &Event::Tcp(tcp_event(tcp::RETRANSMIT, port, MS)),
            &mut |_| {},
        );
    }
    let tracked = engine.tracked();
    assert_eq!(tracked.connections, 8);
    assert_eq!(tracked.evicted_connections, 12);
}

#[test]
fn unknown_role_is_counted_not_guessed() {
    let mut event = handshake(1, MS, 2 * MS);
    event.role = role::UNKNOWN;
    let mut engine = Engine::new(Bounds {
        connections: 8,
        ..BOUNDS
    });
    engine.push(&Event::Handshake(event), &mut |_| {});
    engine.finish(&mut |_| panic!("an observation without a role"));
    assert_eq!(engine.tracked().unknown_role, 1);
}

fn any_event() -> impl Strategy<Value = Event> {
    let port = 1..6_u16;
    let at = 0..2_000 * MS;
    prop_oneof![
        (port.clone(), at.clone(), 0..400 * MS, 1..6_u8, 0..3_u8).prop_map(
            |(port, end, length, how, hit)| {
                let mut event = handshake(port, end.saturating_sub(length), end);
                event.outcome = how;
                event.hit = hit;
                Event::Handshake(event)
            }
        ),
        (port, at.clone(), tcp::RETRANSMIT..=tcp::UNHEARD)
            .prop_map(|(port, at, kind)| Event::Tcp(tcp_event(kind, port, at))),
        at.prop_map(Event::Tick),
    ]
}

proptest! {
    #[test]
    fn every_handshake_ends_exactly_once(events in prop::collection::vec(any_event(), 0..200)) {
        let ends = events.iter().filter(|e| matches!(e, Event::Handshake(_))).count();
        let completed = events.iter().filter(
            |e| matches!(e, Event::Handshake(h) if h.outcome == outcome::COMPLETED)
        ).count();
        let seen = run(&events);
        prop_assert_eq!(seen.len(), ends);
        let done = seen.iter().filter(|o| matches!(o.end, End::Completed(_))).count();
        prop_assert_eq!(done, completed);
    }

    #[test]
    fn a_stream_replays_to_the_same_result(events in prop::collection::vec(any_event(), 0..200)) {
        prop_assert_eq!(run(&events), run(&events));
    }

    #[test]
    fn a_retransmission_is_counted_once_at_most(events in prop::collection::vec(any_event(), 0..200)) {
        let told = events.iter().filter(|event| matches!(
            event,
            Event::Tcp(t) if !matches!(
                t.header.kind,
                tcp::MISSING
                    | tcp::UNHEARD
                    | tcp::STALL
                    | tcp::LATE
                    | tcp::RESET_RECEIVED
                    | tcp::RESET_SENT
            )
        ));
        let told = told.count();
        let (seen, losses) = run_all(&events);
        let joined: u32 = seen.iter().map(|seen| {
            let trouble = seen.trouble;
            let all = trouble.retransmits.0.into_iter().flatten().sum::<u32>();
            all - trouble.counted.0.into_iter().flatten().sum::<u32>()
        }).sum();
        prop_assert!(joined as usize + losses.len() <= told);
    }
}

mod loss;
mod wire;
