//! Client randoms that clients repeat, without entropy or on purpose: each connection is a
//! handshake of its own.

use std::mem;

use proptest::prelude::*;
use reprise_ebpf::{
    Socket,
    handshake::{HandshakeEvent, role, socket_source},
};

use super::{
    BOUNDS, MS, Run, run,
    wire::{hello, library},
};
use crate::{
    model::{Observation, Role, Source},
    pipeline::{
        correlate::{SETTLE_NS, wire_handshakes::WAIT_NS},
        record::Record,
        wire::WireRecord,
    },
};

/// The random of all of them.
const RANDOM: u8 = 7;

/// Handshake number `index` at the server, of clients that arrive `every_ns`.
fn at_server(index: u16, every_ns: u64) -> WireRecord {
    let begin_ns = MS + u64::from(index) * every_ns;
    hello(
        role::SERVER,
        RANDOM,
        1_000 + index,
        begin_ns,
        begin_ns + 2 * MS,
    )
}

/// The client's end of the same connection.
fn at_client(server: &WireRecord) -> WireRecord {
    let mut client = *server;
    client.role = role::CLIENT;
    client.begin_ns -= 1_000;
    mem::swap(&mut client.socket.local, &mut client.socket.remote);
    mem::swap(
        &mut client.socket.local_port,
        &mut client.socket.remote_port,
    );
    client
}

/// The library's record of the same handshake.
fn in_library(wire: &WireRecord) -> HandshakeEvent {
    let mut event = library(RANDOM, 1, wire.begin_ns, wire.header.time_ns);
    event.socket = wire.socket;
    event.role = wire.role;
    event
}

fn count(seen: &[Observation], role: Role, source: fn(&Source) -> bool) -> usize {
    let counted = seen
        .iter()
        .filter(|seen| seen.role == role && source(&seen.source));
    counted.count()
}

const fn on_wire(source: &Source) -> bool {
    matches!(source, Source::Wire)
}

const fn by_library(source: &Source) -> bool {
    matches!(source, Source::Library(_))
}

/// In turn, overlapping, and all at once; fewer and more than are compared with each other.
const ARRIVALS: [(u16, u64); 5] = [(10, 20 * MS), (10, MS), (10, 0), (3, MS), (100, MS)];
/// The second one comes after the first one was counted from packets.
const SLOW: (u16, u64) = (2, 5_000 * MS);

#[test]
fn connections_that_only_packets_show_are_counted_one_by_one() {
    for (clients, every_ns) in ARRIVALS.into_iter().chain([SLOW]) {
        let ends: Vec<_> = (0..clients)
            .map(|index| at_server(index, every_ns))
            .collect();
        let records: Vec<_> = ends.iter().copied().map(Record::Wire).collect();
        let seen = run(&records);
        assert_eq!(
            count(&seen, Role::Server, on_wire),
            usize::from(clients),
            "{every_ns}"
        );
        let both: Vec<_> = ends
            .iter()
            .flat_map(|server| [at_client(server), *server])
            .map(Record::Wire)
            .collect();
        let seen = run(&both);
        for role in [Role::Client, Role::Server] {
            assert_eq!(
                count(&seen, role, on_wire),
                usize::from(clients),
                "{every_ns}"
            );
        }
    }
}

#[test]
fn connections_that_a_library_reports_are_counted_one_by_one() {
    for (clients, every_ns) in ARRIVALS {
        let wires: Vec<_> = (0..clients)
            .map(|index| at_server(index, every_ns))
            .collect();
        for source in [socket_source::IN_CALL, socket_source::BEFORE] {
            let library = wires.iter().map(|wire| {
                let mut event = in_library(wire);
                event.socket_source = source;
                Record::Handshake(event)
            });
            let wire = wires.iter().copied().map(Record::Wire);
            for records in [
                wire.clone().chain(library.clone()).collect::<Vec<_>>(),
                library.clone().chain(wire.clone()).collect(),
                wire.clone()
                    .zip(library)
                    .flat_map(|(wire, library)| [wire, library])
                    .collect(),
            ] {
                let seen = run(&records);
                assert_eq!(seen.len(), usize::from(clients), "{every_ns}");
                assert_eq!(count(&seen, Role::Server, by_library), usize::from(clients));
                let joined = seen.iter().filter(|seen| seen.hello.is_some());
                let own = joined.filter(|seen| {
                    let hello = seen.hello.as_ref().map(|hello| hello.end_ns);
                    hello == Some(seen.time_ns)
                });
                assert_eq!(
                    own.count(),
                    usize::from(clients),
                    "joined with its own record"
                );
            }
        }
    }
}

/// A client of this host and another one repeat a random at the same service: neither is a relay of
/// the other's.
#[test]
fn a_client_here_is_no_relay_of_another_clients_connection() {
    let elsewhere = at_server(0, 0);
    let mut here = at_server(1, 0);
    here.begin_ns += 10_000;
    let records = [elsewhere, at_client(&here), here].map(Record::Wire);
    let seen = run(&records);
    assert_eq!(count(&seen, Role::Server, on_wire), 2);
    assert_eq!(count(&seen, Role::Client, on_wire), 1);
}

/// What a library reported is an end, even if a later connection looks like the onward one of a
/// relay.
#[test]
fn a_server_with_a_library_is_no_relay() {
    let server = at_server(0, 0);
    let mut other = at_client(&at_server(1, 0));
    other.begin_ns += 10_000;
    other.socket.remote_port = 8_443;
    let wires = [server, other].map(Record::Wire);
    assert!(run(&wires).is_empty(), "a relay, as far as packets show");
    let seen = run(&[&wires[..], &[Record::Handshake(in_library(&server))]].concat());
    assert_eq!(count(&seen, Role::Server, by_library), 1);
    assert_eq!(count(&seen, Role::Client, on_wire), 1);
}

#[test]
fn a_library_without_a_connection_counts_one_of_the_handshakes() {
    let blind = |wire: &WireRecord| {
        let mut event = in_library(wire);
        event.socket_source = socket_source::NONE;
        event.socket = Socket::default();
        Record::Handshake(event)
    };
    for clients in [2, 8, 20] {
        let wires: Vec<_> = (0..clients).map(|index| at_server(index, MS)).collect();
        let wire = || wires.iter().copied().map(Record::Wire);
        let libraries = || wires.iter().map(blind);
        let both = wire().chain(libraries()).collect::<Vec<_>>();
        assert_eq!(run(&both).len(), usize::from(clients));
        let reversed = libraries().chain(wire()).collect::<Vec<_>>();
        assert_eq!(run(&reversed).len(), usize::from(clients));
        // All counted from packets when the library reports, far too late.
        let mut run = Run::new(BOUNDS);
        wire().for_each(|record| run.push(&record));
        run.push(&Record::Tick(100 * MS + WAIT_NS));
        assert_eq!(run.found.seen.len(), usize::from(clients));
        libraries().for_each(|record| run.push(&record));
        run.push(&Record::Tick(200 * MS + WAIT_NS + SETTLE_NS));
        assert_eq!(run.found.seen.len(), usize::from(clients));
    }
}

proptest! {
    #[test]
    fn each_connection_is_counted_once(
        connections in prop::collection::vec((0..20_u64, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut records = Vec::new();
        for (index, (start, has_library, wire_first)) in connections.iter().enumerate() {
            let mut wire = at_server(index as u16, 0);
            wire.begin_ns += start * MS;
            wire.header.time_ns += start * MS;
            let (library, wire) = (in_library(&wire), Record::Wire(wire));
            let library = Record::Handshake(library);
            match (has_library, wire_first) {
                (false, _) => records.push(wire),
                (true, true) => records.extend([wire, library]),
                (true, false) => records.extend([library, wire]),
            }
        }
        prop_assert_eq!(run(&records).len(), connections.len());
    }
}
