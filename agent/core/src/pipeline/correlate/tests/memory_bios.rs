//! Tests of handshakes whose library knows neither the socket nor its end: memory BIOs.

use reprise_ebpf::{
    Socket,
    handshake::{HandshakeEvent, outcome, role, socket_source},
};

use super::{
    MS, handshake, run,
    wire::{hello, library},
};
use crate::{
    model::{FailureCause as Cause, Observation, Outcome},
    pipeline::{
        record::Record,
        socket::connection,
        wire::{WireRecord, end, flag},
    },
};

#[test]
fn handshake_dropped_after_the_peers_fin_is_closed() {
    // A program with memory BIOs: the library knows neither the socket nor the end of the stream.
    let cause = |how, on_the_wire, wire_end_ns| {
        let mut dropped = library(1, 1, 10 * MS, 20 * MS);
        dropped.outcome = how;
        dropped.socket_source = socket_source::NONE;
        dropped.socket = Socket::default();
        let mut shown = hello(role::SERVER, 1, 1, 10 * MS, wire_end_ns);
        shown.flags = flag::OFFER_READ;
        shown.end = on_the_wire;
        let seen = run(&[Record::Wire(shown), Record::Handshake(dropped)]);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].connection, connection(&shown.socket));
        seen[0].outcome
    };
    for how in [outcome::FREED, outcome::RESTARTED, outcome::PROCESS_ENDED] {
        let fin = cause(how, end::CLOSED_IN, 15 * MS);
        assert_eq!(fin, Outcome::Failed(Cause::Closed), "{how}");
        let own_fin = cause(how, end::CLOSED_OUT, 15 * MS);
        assert_eq!(own_fin, Outcome::Failed(Cause::Abandoned), "{how}");
        let later = cause(how, end::CLOSED_IN, 25 * MS);
        assert_eq!(later, Outcome::Failed(Cause::Abandoned), "{how}");
    }
}

#[test]
fn reset_after_the_peers_fin_answers_this_sides_data() {
    let cause = |on_the_wire, reset_ns| {
        let mut failed = library(1, 1, 10 * MS, 20 * MS);
        failed.role = role::CLIENT;
        failed.outcome = outcome::FAILED;
        let mut shown = hello(role::CLIENT, 1, 1, 10 * MS, 15 * MS);
        shown.flags = flag::OFFER_READ;
        shown.end = on_the_wire;
        let reset = super::tcp_event(reprise_ebpf::tcp::RESET_RECEIVED, 1, reset_ns);
        let events = [
            Record::Wire(shown),
            Record::Tcp(reset),
            Record::Handshake(failed),
        ];
        run(&events)[0].outcome
    };
    let closed = cause(end::CLOSED_IN, 18 * MS);
    assert_eq!(closed, Outcome::Failed(Cause::Closed));
    let reset = cause(end::RESET, 15 * MS);
    assert_eq!(reset, Outcome::Failed(Cause::Reset));
}

/// A server's handshake that its program dropped before a ClientHello.
fn dropped(begin: u64, end_ns: u64) -> HandshakeEvent {
    let mut event = handshake(0, begin, end_ns);
    event.outcome = outcome::FREED;
    event.heard_ns = begin;
    event.socket_source = socket_source::NONE;
    event.socket = Socket::default();
    event
}

/// An accepted connection that ended before a ClientHello.
fn silent(port: u16, opened: u64, end_ns: u64, how: u8) -> WireRecord {
    let mut record = hello(role::SERVER, 0, port, opened, end_ns);
    record.flags = 0;
    record.version = 0;
    record.silence_ms = ((end_ns - opened) / MS) as u32;
    record.end = how;
    record
}

/// Failures beside a completed handshake, by which the process is known to serve its port.
fn failures(records: &[Record]) -> Vec<Observation> {
    let known = Record::Handshake(handshake(9, MS, 2 * MS));
    let mut seen = run(&[&[known], records].concat());
    assert!(matches!(seen.remove(0).outcome, Outcome::Completed(_)));
    seen
}

#[test]
fn connection_that_ended_before_its_hello_is_matched_by_port_and_time() {
    let cases = [
        ("accepted, then closed", 1_001, 1_100, 1_101),
        ("freed long after", 1_001, 1_100, 60_000),
        ("closed before it was accepted", 1_050, 1_010, 1_060),
        ("begun at the end of the stream", 6_001, 6_000, 6_010),
    ];
    for (name, begin, closed, freed) in cases {
        let shown = silent(1, 1_000 * MS, closed * MS, end::CLOSED_IN);
        let freed = dropped(begin * MS, freed * MS);
        let seen = failures(&[Record::Wire(shown), Record::Handshake(freed)]);
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        assert_eq!(seen[0].outcome, Outcome::Failed(Cause::Closed), "{name}");
        assert_eq!(seen[0].connection, connection(&shown.socket), "{name}");
        assert_eq!(seen[0].hello, None, "{name}");
    }
}

#[test]
fn connections_of_other_times_ports_and_processes_do_not_match() {
    let shown = silent(1, 1_000 * MS, 1_100 * MS, end::CLOSED_IN);
    let mut other_port = shown;
    other_port.socket.local_port = 8_443;
    let freed = dropped(1_001 * MS, 1_101 * MS);
    let mut other_process = freed;
    other_process.tgid = 8;
    let cases = [
        ("other port", other_port, freed),
        ("other process", shown, other_process),
        ("begun before", shown, dropped(900 * MS, 1_101 * MS)),
        ("begun long after", shown, dropped(1_300 * MS, 1_301 * MS)),
        ("ended before", shown, dropped(1_001 * MS, 1_050 * MS)),
    ];
    for (name, shown, freed) in cases {
        let seen = failures(&[Record::Wire(shown), Record::Handshake(freed)]);
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        assert_ne!(seen[0].outcome, Outcome::Failed(Cause::Closed), "{name}");
        assert_eq!(seen[0].connection, None, "{name}");
    }
}

#[test]
fn each_handshake_has_the_connection_that_was_opened_last_before_it() {
    // One client closes, the other is silent until the server closes; freed in the other order.
    let seen = failures(&[
        Record::Wire(silent(1, 1_000 * MS, 1_500 * MS, end::CLOSED_IN)),
        Record::Wire(silent(2, 1_050 * MS, 3_050 * MS, end::CLOSED_OUT)),
        Record::Handshake(dropped(1_051 * MS, 3_051 * MS)),
        Record::Handshake(dropped(1_001 * MS, 4_000 * MS)),
    ]);
    let found: Vec<_> = seen
        .iter()
        .map(|seen| (seen.connection.unwrap().remote.port(), seen.outcome))
        .collect();
    let failed = Outcome::Failed;
    // A timeout waits for evidence of packet loss.
    let expected = [(1, failed(Cause::Closed)), (2, failed(Cause::Timeout))];
    assert_eq!(found, expected);
}

#[test]
fn reset_of_a_silent_connection_before_it_was_accepted_is_a_reset() {
    let shown = silent(1, 1_000 * MS, 1_001 * MS, end::RESET);
    let reset = super::tcp_event(reprise_ebpf::tcp::RESET_RECEIVED, 1, 1_001 * MS);
    let seen = failures(&[
        Record::Tcp(reset),
        Record::Wire(shown),
        Record::Handshake(dropped(1_010 * MS, 1_020 * MS)),
    ]);
    assert_eq!(seen[0].outcome, Outcome::Failed(Cause::Reset));
}
