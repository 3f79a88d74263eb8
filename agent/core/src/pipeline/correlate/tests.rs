//! Tests of the engine: joins, causes, settling, and properties over random streams.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use reprise_ebpf::{
    Header, Socket,
    handshake::{
        self, ALERT, AlertEvent, HIT_UNKNOWN, HandshakeEvent, REASON_OTHER, flag, outcome, role,
        socket_source,
    },
    tcp::{self, TcpEvent},
};
use zerocopy::FromZeros as _;

use super::{Bounds, Engine, Finding, LateLoss, SETTLE_NS};
use crate::{
    model::{
        AlertAfterCompletion, Connection, Direction, FailureCause as Cause, Observation, Outcome,
        Phase, Resumption, Retransmits, Role, Version,
    },
    pipeline::{
        record::Record,
        socket::{connection, words},
    },
};

const MS: u64 = 1_000_000;
const BOUNDS: Bounds = Bounds {
    connections: 1024,
    sessions: 1024,
    services: 64,
};

fn socket(port: u16) -> Socket {
    let words = |last| words(Ipv4Addr::new(127, 0, 0, last).into());
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
        error: 0,
        socket: socket(port),
    }
}

/// All findings of an engine.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) seen: Vec<Observation>,
    pub(super) losses: Vec<LateLoss>,
    pub(super) cut: Vec<Connection>,
    pub(super) alerts: Vec<AlertAfterCompletion>,
}

impl Found {
    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Handshake(observation) => self.seen.push(observation),
            Finding::Loss(loss) => self.losses.push(loss),
            Finding::SessionCut(connection) => self.cut.push(connection),
            Finding::Alert(alert) => self.alerts.push(alert),
        }
    }
}

/// An engine and its findings so far.
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) found: Found,
}

impl Run {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            engine: Engine::new(bounds),
            found: Found::default(),
        }
    }

    /// Adds a record, and advances the time to it.
    pub(super) fn push(&mut self, record: &Record) {
        self.push_early(record);
        self.push_early(&Record::Tick(record.time_ns()));
    }

    /// Adds a record before earlier ones of other sensors.
    pub(super) fn push_early(&mut self, record: &Record) {
        let found = &mut self.found;
        self.engine
            .push(record.into(), &mut |finding| found.add(finding));
    }

    pub(super) fn finish(&mut self) {
        let found = &mut self.found;
        self.engine.finish(&mut |finding| found.add(finding));
    }
}

fn run_all(records: &[Record]) -> (Vec<Observation>, Vec<LateLoss>) {
    let mut run = Run::new(BOUNDS);
    for record in records {
        run.push(record);
    }
    run.finish();
    (run.found.seen, run.found.losses)
}

fn run(records: &[Record]) -> Vec<Observation> {
    run_all(records).0
}

#[test]
fn completed_handshake_carries_version_resumption_and_times() {
    let mut event = handshake(1, 10 * MS, 12 * MS);
    event.hit = 1;
    let seen = run(&[Record::Handshake(event)]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].role, Role::Server);
    assert_eq!(seen[0].version, Version::V13);
    assert_eq!(seen[0].outcome, Outcome::Completed(Resumption::Resumed));
    assert_eq!(seen[0].duration_ns, 2 * MS);
    assert_eq!(seen[0].network.retransmits.total(), 0);
}

#[test]
fn unread_resumption_is_neither_full_nor_resumed() {
    let mut event = handshake(1, 10 * MS, 12 * MS);
    event.hit = HIT_UNKNOWN;
    let seen = run(&[Record::Handshake(event)]);
    assert_eq!(seen[0].outcome, Outcome::Completed(Resumption::Unknown));
}

#[test]
fn waits_for_tcp_events_that_arrive_later() {
    let mut run = Run::new(Bounds {
        connections: 16,
        ..BOUNDS
    });
    let mut push = |record| run.push(&record);
    push(Record::Handshake(handshake(1, 10 * MS, 900 * MS)));
    push(Record::Tcp(tcp_event(tcp::RETRANSMIT, 1, 300 * MS)));
    push(Record::Tcp(tcp_event(tcp::RETRANSMIT_SYNACK, 1, 5 * MS)));
    push(Record::Tick(900 * MS + SETTLE_NS - 1));
    push(Record::Tick(900 * MS + SETTLE_NS));
    assert_eq!(run.found.seen.len(), 1);
    let again = run.found.seen[0].network.retransmits;
    assert_eq!(again.get(Phase::Handshake, Direction::Sent), 1);
    assert_eq!(again.get(Phase::SynAck, Direction::Sent), 1);
}

#[test]
fn retransmissions_after_the_end_or_of_others_do_not_count() {
    let seen = run(&[
        Record::Tcp(tcp_event(tcp::RETRANSMIT, 2, 11 * MS)),
        Record::Handshake(handshake(1, 10 * MS, 12 * MS)),
        Record::Tcp(tcp_event(tcp::RETRANSMIT, 1, 13 * MS)),
    ]);
    assert_eq!(seen[0].network.retransmits.total(), 0);
}

#[test]
fn causes_follow_the_strongest_evidence() {
    let fail = |change: &dyn Fn(&mut HandshakeEvent), tcp: &[TcpEvent]| {
        let mut event = handshake(1, 10 * MS, 20 * MS);
        event.outcome = outcome::FAILED;
        change(&mut event);
        let mut events: Vec<_> = tcp.iter().copied().map(Record::Tcp).collect();
        events.push(Record::Handshake(event));
        match run(&events)[0].outcome {
            Outcome::Failed(cause) => cause,
            Outcome::Completed(_) => panic!("failed handshake seen as completed"),
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
fn alert_after_completion_is_a_finding_of_its_own() {
    let mut event = AlertEvent::new_zeroed();
    event.header.kind = ALERT;
    event.header.time_ns = 15 * MS;
    event.tgid = 7;
    event.alert = 116;
    event.role = u32::from(role::CLIENT);
    event.socket_source = u32::from(socket_source::IN_CALL);
    event.socket = socket(1);
    let mut without_role = event;
    without_role.role = u32::from(role::UNKNOWN);
    let mut run = Run::new(BOUNDS);
    run.push(&Record::Handshake(handshake(1, 10 * MS, 12 * MS)));
    run.push(&Record::Alert(event));
    run.push(&Record::Alert(without_role));
    run.finish();
    assert_eq!(run.found.seen.len(), 1);
    let [alert] = run.found.alerts.as_slice() else {
        panic!("one alert: {:?}", run.found.alerts);
    };
    assert_eq!((alert.role, alert.description), (Role::Client, 116));
    assert_eq!(alert.connection, connection(&event.socket));
}

#[test]
fn histories_are_bounded_and_evictions_are_counted() {
    let mut run = Run::new(Bounds {
        connections: 8,
        ..BOUNDS
    });
    for port in 1..=20 {
        run.push(&Record::Tcp(tcp_event(tcp::RETRANSMIT, port, MS)));
    }
    let tracked = run.engine.tracked();
    assert_eq!(tracked.connections, 8);
    assert_eq!(tracked.evicted_connections, 12);
}

#[test]
fn unknown_role_is_counted_not_guessed() {
    let mut event = handshake(1, MS, 2 * MS);
    event.role = role::UNKNOWN;
    let mut run = Run::new(Bounds {
        connections: 8,
        ..BOUNDS
    });
    run.push(&Record::Handshake(event));
    run.finish();
    assert!(run.found.seen.is_empty(), "an observation without a role");
    assert_eq!(run.engine.tracked().unknown_role, 1);
}

fn sum(retransmits: Retransmits) -> u32 {
    let counts = retransmits.0.into_values();
    counts.flat_map(|counts| counts.into_values()).sum()
}

fn any_event() -> impl Strategy<Value = Record> {
    let port = 1..6_u16;
    let at = 0..2_000 * MS;
    prop_oneof![
        (port.clone(), at.clone(), 0..400 * MS, 1..6_u8, 0..3_u8).prop_map(
            |(port, end, length, how, hit)| {
                let mut event = handshake(port, end.saturating_sub(length), end);
                event.outcome = how;
                event.hit = hit;
                Record::Handshake(event)
            }
        ),
        (port, at.clone(), tcp::RETRANSMIT..=tcp::UNHEARD)
            .prop_map(|(port, at, kind)| Record::Tcp(tcp_event(kind, port, at))),
        at.prop_map(Record::Tick),
    ]
}

proptest! {
    #[test]
    fn each_handshake_ends_exactly_once(events in prop::collection::vec(any_event(), 0..200)) {
        let ends = events.iter().filter(|e| matches!(e, Record::Handshake(_))).count();
        let completed = events.iter().filter(
            |e| matches!(e, Record::Handshake(h) if h.outcome == outcome::COMPLETED)
        ).count();
        let seen = run(&events);
        prop_assert_eq!(seen.len(), ends);
        let done = seen.iter().filter(|o| matches!(o.outcome, Outcome::Completed(_))).count();
        prop_assert_eq!(done, completed);
    }

    #[test]
    fn a_stream_replays_to_the_same_result(events in prop::collection::vec(any_event(), 0..200)) {
        prop_assert_eq!(run(&events), run(&events));
    }

    #[test]
    fn a_retransmission_is_counted_once_at_most(events in prop::collection::vec(any_event(), 0..200)) {
        let reported = events.iter().filter(|event| matches!(
            event,
            Record::Tcp(t) if !matches!(
                t.header.kind,
                tcp::MISSING
                    | tcp::UNHEARD
                    | tcp::STALL
                    | tcp::LATE
                    | tcp::RESET_RECEIVED
                    | tcp::RESET_SENT
            )
        ));
        let reported = reported.count();
        let (seen, losses) = run_all(&events);
        let joined: u32 = seen.iter().map(|seen| {
            let network = seen.network;
            let all = sum(network.retransmits);
            all - sum(network.counted)
        }).sum();
        prop_assert!(joined as usize + losses.len() <= reported);
    }
}

mod loss;
mod memory_bios;
mod repeated;
mod undecided;
mod verdicts;
mod wire;
