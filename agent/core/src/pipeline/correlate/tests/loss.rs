//! Tests of packet loss: which handshake it counts for, late losses, and the distinction from
//! timeouts.

use reprise_ebpf::{
    ABSENT, Header,
    handshake::{
        FORGET, ForgetEvent, HandshakeEvent, SessionAge, SessionId, flag as library_flag, forgot,
        outcome, role,
    },
    tcp,
};

use super::{
    MS, Run, handshake, run, run_all, tcp_event,
    wire::{hello, library},
};
use crate::{
    model::{Direction, FailureCause as Cause, Outcome, Phase, Role},
    pipeline::{
        correlate::{LateLoss, SETTLE_NS, engine::TIMEOUT_CONFIRM_NS},
        record::Record,
        wire::{end, flag},
    },
};

/// The cause of a handshake from 10 to 600 ms, freed unless `change` says otherwise, with these
/// events on its connection.
fn fail(change: &dyn Fn(&mut HandshakeEvent), marks: &[(u32, u64)]) -> Cause {
    let mut event = handshake(1, 10 * MS, 600 * MS);
    event.outcome = outcome::FREED;
    change(&mut event);
    let marks = marks
        .iter()
        .map(|(kind, at)| Record::Tcp(tcp_event(*kind, 1, *at)));
    let events: Vec<_> = marks.chain([Record::Handshake(event)]).collect();
    match run(&events)[0].outcome {
        Outcome::Failed(cause) => cause,
        Outcome::Completed(_) => panic!("a failed handshake seen as completed"),
    }
}

#[test]
fn silence_is_a_timeout_unless_there_is_loss() {
    let silent = |event: &mut HandshakeEvent| event.heard_ns = 20 * MS;
    assert_eq!(fail(&silent, &[]), Cause::Timeout);
    assert_eq!(fail(&|_| {}, &[]), Cause::Abandoned);
    for kind in [
        tcp::RETRANSMIT,
        tcp::DATA_AGAIN,
        tcp::MISSING,
        tcp::UNHEARD,
        tcp::STALL,
        tcp::LATE,
    ] {
        assert_eq!(fail(&silent, &[(kind, 300 * MS)]), Cause::PacketLoss);
    }
    // Missing data was sent before; a later retransmission is not evidence about the time before.
    assert_eq!(
        fail(&silent, &[(tcp::MISSING, 700 * MS)]),
        Cause::PacketLoss
    );
    // A program may begin only when its first data has arrived; late data after that was not its
    // first.
    assert_eq!(fail(&silent, &[(tcp::LATE, 5 * MS)]), Cause::PacketLoss);
    assert_eq!(fail(&silent, &[(tcp::LATE, 700 * MS)]), Cause::Timeout);
    let later = 601 * MS + TIMEOUT_CONFIRM_NS;
    for (kind, at) in [
        (tcp::MISSING, later),
        (tcp::DATA_AGAIN, 700 * MS),
        (tcp::FLIGHT_AGAIN, 700 * MS),
    ] {
        assert_eq!(fail(&silent, &[(kind, at)]), Cause::Timeout);
    }
    // A killed process did not time out.
    let killed = |event: &mut HandshakeEvent| {
        event.heard_ns = 20 * MS;
        event.outcome = outcome::PROCESS_ENDED;
    };
    assert_eq!(fail(&killed, &[]), Cause::Abandoned);
}

#[test]
fn timeout_waits_for_evidence_of_loss() {
    let mut event = handshake(1, 10 * MS, 600 * MS);
    event.outcome = outcome::FREED;
    event.heard_ns = 20 * MS;
    let mut run = Run::new(super::BOUNDS);
    let mut push = |record| {
        run.push(&record);
        run.found.seen.len()
    };
    assert_eq!(push(Record::Handshake(event)), 0);
    assert_eq!(push(Record::Tick(600 * MS + SETTLE_NS)), 0);
    push(Record::Tcp(tcp_event(tcp::MISSING, 1, 1_200 * MS)));
    assert_eq!(push(Record::Tick(599 * MS + TIMEOUT_CONFIRM_NS)), 0);
    assert_eq!(push(Record::Tick(600 * MS + TIMEOUT_CONFIRM_NS)), 1);
    let seen: Vec<_> = run.found.seen.iter().map(|one| one.outcome).collect();
    assert_eq!(seen, [Outcome::Failed(Cause::PacketLoss)]);
}

#[test]
fn socket_closed_without_a_reset_timed_out() {
    let dies = |event: &mut HandshakeEvent| {
        event.outcome = outcome::FAILED;
        event.flags = library_flag::SOCKET_CLOSED;
        event.heard_ns = 20 * MS;
    };
    assert_eq!(fail(&dies, &[]), Cause::Timeout);
    assert_eq!(fail(&dies, &[(tcp::RESET_SENT, 599 * MS)]), Cause::Reset);
    assert_eq!(
        fail(&dies, &[(tcp::RESET_RECEIVED, 599 * MS)]),
        Cause::Reset
    );
}

#[test]
fn error_followed_by_data_is_an_alert_sent() {
    let refuses = |event: &mut HandshakeEvent| {
        event.outcome = outcome::FAILED;
        event.reason = 193;
    };
    assert_eq!(fail(&refuses, &[]), Cause::LocalError);
    let alerts = |event: &mut HandshakeEvent| {
        refuses(event);
        event.flags = library_flag::ALERTED;
    };
    assert_eq!(
        fail(&alerts, &[(tcp::RETRANSMIT, 300 * MS)]),
        Cause::AlertSent
    );
}

#[test]
fn phases_and_directions_are_distinguished() {
    let marks = [
        (tcp::RETRANSMIT_SYNACK, 1),
        (tcp::SYN_AGAIN, 2),
        (tcp::SYNACK_AGAIN, 3),
        (tcp::RETRANSMIT, 11),
        (tcp::DATA_AGAIN, 12),
        (tcp::FLIGHT_AGAIN, 13),
        // Not in the handshake.
        (tcp::RETRANSMIT, 21),
    ];
    let marks = marks.map(|(kind, at)| Record::Tcp(tcp_event(kind, 1, at * MS)));
    let end = Record::Handshake(handshake(1, 10 * MS, 20 * MS));
    let events: Vec<_> = marks.into_iter().chain([end]).collect();
    let again = run(&events)[0].network.retransmits;
    let sums = Phase::ALL.map(|phase| Direction::ALL.map(|direction| again.get(phase, direction)));
    assert_eq!(sums, [[0, 1], [1, 1], [1, 1]]);
}

#[test]
fn retransmitted_last_flight_counts_once() {
    let mut events = vec![Record::Handshake(handshake(1, 10 * MS, 20 * MS))];
    // The first arrives before the handshake is concluded, the others after it.
    for at in [100, 500, 900] {
        events.push(Record::Tcp(tcp_event(tcp::FLIGHT_AGAIN, 1, at * MS)));
        events.push(Record::Tick(at * MS + SETTLE_NS));
    }
    let (seen, losses) = run_all(&events);
    let again = seen[0].network.retransmits;
    assert_eq!(again.get(Phase::Handshake, Direction::Sent), 1);
    assert_eq!(losses.len(), 2);
    assert!(losses.iter().all(|loss| !loss.first));
    // For a handshake observed without loss, the first retransmission makes the difference.
    events.remove(1);
    let (_, losses) = run_all(&events);
    let first: Vec<_> = losses.iter().map(|loss| loss.first).collect();
    assert_eq!(first, [true, false]);
}

#[test]
fn loss_before_a_handshake_counts_for_tls_services() {
    let again = |kind, port, at| Record::Tcp(tcp_event(kind, port, at * MS));
    let mut events = vec![again(tcp::RETRANSMIT_SYNACK, 9, 1)];
    assert_eq!(run_all(&events).1, []);
    events.push(Record::Handshake(handshake(1, 10 * MS, 20 * MS)));
    events.push(Record::Tick(20 * MS + SETTLE_NS));
    // Another client of the same port.
    events.push(again(tcp::RETRANSMIT_SYNACK, 2, 300));
    let (_, losses) = run_all(&events);
    let [loss] = losses[..] else {
        panic!("{losses:?}");
    };
    let LateLoss {
        role,
        phase,
        direction,
        first,
        ..
    } = loss;
    assert_eq!(
        (role, phase, direction, first),
        (Role::Server, Phase::SynAck, Direction::Sent, false)
    );
    // The connection reaches a handshake, which has the loss as evidence and does not count it
    // again.
    events.push(Record::Handshake(handshake(2, 310 * MS, 320 * MS)));
    let (seen, losses) = run_all(&events);
    let network = seen[1].network;
    assert_eq!(losses.len(), 1);
    assert_eq!(network.retransmits, network.counted);
    assert_eq!(network.retransmits.get(Phase::SynAck, Direction::Sent), 1);
}

#[test]
fn wire_handshake_closed_after_silence_timed_out() {
    let mut shown = hello(role::CLIENT, 1, 1, 10 * MS, 900 * MS);
    shown.end = end::CLOSED_OUT;
    shown.silence_ms = 800;
    let end = |shown| run(&[Record::Wire(shown)])[0].outcome;
    assert_eq!(end(shown), Outcome::Failed(Cause::Timeout));
    shown.silence_ms = 100;
    assert_eq!(end(shown), Outcome::Failed(Cause::Abandoned));
}

#[test]
fn late_client_hello_was_lost_before() {
    let end = |come, flags| {
        let mut event = handshake(1, 10 * MS, 600 * MS);
        event.outcome = outcome::FAILED;
        let mut shown = hello(role::SERVER, 1, 1, come, 600 * MS);
        shown.flags |= flags;
        shown.end = end::CLOSED_IN;
        event.flags = library_flag::RANDOM | library_flag::PEER_CLOSED;
        event.client_random = shown.client_random;
        run(&[Record::Wire(shown), Record::Handshake(event)])[0].outcome
    };
    assert_eq!(end(220 * MS, 0), Outcome::Failed(Cause::PacketLoss));
    assert_eq!(end(200 * MS, 0), Outcome::Failed(Cause::Closed));
    let after_starttls = end(220 * MS, flag::LATE);
    assert_eq!(after_starttls, Outcome::Failed(Cause::Closed));
}

/// Whether the session of a handshake from 10 to 20 ms, removed at 900 ms, counts as cut off by
/// loss, with a retransmission at `retransmit_ns`.
fn is_lost(retransmit_ns: u64) -> bool {
    let mut session_id = SessionId {
        length: 32,
        ..SessionId::default()
    };
    session_id.bytes[..8].copy_from_slice(&7_u64.to_be_bytes());
    let mut shown = hello(role::SERVER, 1, 1, 10 * MS, 20 * MS);
    shown.version = 0x0303;
    shown.given_id.hash = 7;
    shown.given_id.length = 32;
    let removed = ForgetEvent {
        header: Header {
            kind: FORGET,
            size: 0,
            time_ns: 900 * MS,
        },
        tgid: 7,
        how: forgot::FREEING,
        session: SessionAge::default(),
        session_id,
        ssl: 0,
        shutdown: ABSENT,
        reason: 0,
    };
    let mut run = Run::new(super::BOUNDS);
    let events = [
        Record::Wire(shown),
        Record::Handshake(handshake(1, 10 * MS, 20 * MS)),
        Record::Tcp(tcp_event(tcp::RETRANSMIT, 1, retransmit_ns)),
        Record::SessionRemoved(removed),
    ];
    for event in events {
        run.push(&event);
    }
    run.finish();
    assert_eq!(run.engine.removed().values().sum::<u64>(), 1);
    run.found.cut.len() == 1
}

#[test]
fn loss_after_a_handshake_is_remembered_for_its_session() {
    // Before the handshake is concluded, and after it.
    assert!(is_lost(100 * MS));
    assert!(is_lost(800 * MS));
    // After the session was removed.
    assert!(!is_lost(901 * MS));
}

/// The cause of a handshake from 1,500 ms to 6 s on a link with this round trip, which its program
/// abandoned, with these events on its connection.
fn fail_on_slow_link(role: u8, rtt_ms: u32, marks: &[(u32, u64)]) -> Cause {
    let mut event = library(1, 1, 1_500 * MS, 6_000 * MS);
    event.outcome = outcome::FREED;
    event.heard_ns = 1_500 * MS;
    event.role = role;
    let mut shown = hello(role, 1, 1, 1_500 * MS, 6_000 * MS);
    shown.flags = flag::OFFER_READ;
    shown.end = end::CLOSED_OUT;
    shown.rtt_us = rtt_ms * 1_000;
    let marks = marks.iter().map(|(kind, at)| {
        let mut mark = tcp_event(*kind, 1, at * MS);
        mark.state = match mark.header.kind {
            tcp::RETRANSMIT if *at < 1_500 => tcp::STATE_SYN_SENT,
            _ => tcp::STATE_ESTABLISHED,
        };
        Record::Tcp(mark)
    });
    let records = [Record::Wire(shown), Record::Handshake(event)];
    let seen = run(&marks.chain(records).collect::<Vec<_>>());
    assert_eq!(seen.len(), 1, "{seen:?}");
    let rtt_us = (rtt_ms > 0).then_some(rtt_ms * 1_000);
    assert_eq!(seen[0].network.rtt_us, rtt_us);
    match seen[0].outcome {
        Outcome::Failed(cause) => cause,
        Outcome::Completed(_) => panic!("a failed handshake seen as completed"),
    }
}

#[test]
fn retransmission_within_a_round_trip_is_no_evidence_of_loss() {
    let client = |rtt_ms, marks: &[(u32, u64)]| fail_on_slow_link(role::CLIENT, rtt_ms, marks);
    let server = |rtt_ms, marks: &[(u32, u64)]| fail_on_slow_link(role::SERVER, rtt_ms, marks);
    // A link with a round trip of 1,500 ms: the timers of SYN and SYN-ACK are 1 s.
    let syn = (tcp::RETRANSMIT, 1_000);
    let syn_ack_again = (tcp::SYNACK_AGAIN, 2_500);
    assert_eq!(client(1_500, &[syn, syn_ack_again]), Cause::Timeout);
    let syn_again = (tcp::SYN_AGAIN, 1_750);
    let syn_ack = (tcp::RETRANSMIT_SYNACK, 1_750);
    assert_eq!(server(1_500, &[syn_again, syn_ack]), Cause::Timeout);
    // The first SYN-ACK was lost: its retransmission, after 1 s, measures as a round trip of 1 s,
    // and the answer to the second SYN arrives at once.
    let second_answer = (tcp::SYNACK_AGAIN, 1_009);
    assert_eq!(client(1_008, &[syn, second_answer]), Cause::PacketLoss);
    assert_eq!(client(1_008, &[syn]), Cause::PacketLoss);
    // A round trip shorter than the timer, or not measured.
    assert_eq!(client(900, &[syn]), Cause::PacketLoss);
    assert_eq!(server(900, &[syn_again]), Cause::PacketLoss);
    assert_eq!(client(0, &[syn]), Cause::PacketLoss);
    // The second retransmission came after a whole round trip.
    let second = (tcp::SYN_AGAIN, 2_750);
    assert_eq!(server(1_500, &[syn_again, second]), Cause::PacketLoss);
    // The ClientHello at 1,500 ms, retransmitted before and after its acknowledgement was due.
    let early = (tcp::RETRANSMIT, 2_600);
    let late = (tcp::RETRANSMIT, 3_100);
    assert_eq!(client(1_500, &[early]), Cause::Timeout);
    assert_eq!(client(1_500, &[late]), Cause::PacketLoss);
    assert_eq!(client(1_500, &[early, late]), Cause::PacketLoss);
    // Other evidence stays.
    let missing = (tcp::MISSING, 2_000);
    assert_eq!(client(1_500, &[syn, missing]), Cause::PacketLoss);
}
