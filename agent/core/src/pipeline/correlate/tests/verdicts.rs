//! Tests of verdicts: a client's miss has the reason that its server on this host shows.

use std::mem;

use reprise_ebpf::{
    Socket,
    handshake::{HandshakeEvent, flag as library_flag, role},
};

use super::{BOUNDS, MS, Run, handshake as library_event, wire::hello};
use crate::{
    model::{MissReason, Observation, Role},
    pipeline::{
        correlate::{SETTLE_NS, server_verdicts::VERDICT_WAIT_NS, wire_handshakes::WAIT_NS},
        record::Record,
        wire::{TokenRecord, WireRecord, end, flag},
    },
};

pub(super) const SECOND: u64 = 1_000 * MS;
/// The ticket expires before it is offered again.
const LIFETIME_S: u32 = 60;
pub(super) const AGAIN: u64 = 100 * SECOND;

const fn ticket(hash: u64) -> TokenRecord {
    TokenRecord {
        hash,
        key: 1,
        length: 180,
    }
}

fn swapped(mut socket: Socket) -> Socket {
    mem::swap(&mut socket.local, &mut socket.remote);
    mem::swap(&mut socket.local_port, &mut socket.remote_port);
    socket
}

/// A full handshake of TLS 1.2 at one of its ends.
pub(super) fn full(role: u8, random: u8, time_ns: u64, offered: Option<u64>) -> WireRecord {
    let mut record = hello(role, random, random.into(), time_ns, time_ns + MS);
    record.version = 0x0303;
    record.offered_version = 0x0303;
    record.flags |= flag::FULL | flag::TICKETS;
    record.ticket = offered.map(ticket).unwrap_or_default();
    record.given_ticket = ticket(random.into());
    record.lifetime = LIFETIME_S;
    if role == role::CLIENT {
        record.socket = swapped(record.socket);
    }
    record
}

/// The same, in the library of that end.
pub(super) fn library(record: &WireRecord) -> HandshakeEvent {
    let mut event = library_event(1, record.begin_ns, record.header.time_ns);
    event.flags = library_flag::RANDOM;
    event.client_random = record.client_random;
    event.socket = record.socket;
    event.role = record.role;
    event.version = 0x0303;
    event
}

/// A run in which the server has issued ticket 1, which the client does not know.
fn issued() -> Run {
    let mut run = Run::new(BOUNDS);
    run.push(&Record::Wire(full(role::SERVER, 1, SECOND, None)));
    run.push(&Record::Tick(AGAIN - SECOND));
    run.found.seen.clear();
    run
}

pub(super) fn rules(seen: &[Observation]) -> Vec<(Role, MissReason, &'static str)> {
    let misses = seen.iter().map(|seen| (seen.role, seen.miss));
    misses
        .map(|(role, miss)| {
            let miss = miss.expect("a miss");
            (role, miss.reason, miss.evidence.rule)
        })
        .collect()
}

const BY_SERVER: [(Role, MissReason, &str); 2] = [
    (Role::Server, MissReason::Expired, "observed_expired"),
    (Role::Client, MissReason::Expired, "observed_expired"),
];

#[test]
fn the_client_has_the_servers_verdict_whichever_ends_first() {
    let client = full(role::CLIENT, 2, AGAIN, Some(1));
    let server = full(role::SERVER, 2, AGAIN, Some(1));
    let wire = [client, server].map(Record::Wire);
    let libraries = [client, server].map(|record| Record::Handshake(library(&record)));
    let cases: [(&str, Vec<Record>); 4] = [
        ("both from the wire", vec![]),
        ("the client's library", vec![libraries[0].clone()]),
        ("the server's library", vec![libraries[1].clone()]),
        ("both libraries", libraries.to_vec()),
    ];
    for (name, libraries) in cases {
        for reversed in [false, true] {
            let mut records = [&wire[..], &libraries].concat();
            if reversed {
                records.reverse();
            }
            let mut run = issued();
            for record in records {
                run.push(&record);
            }
            run.push(&Record::Tick(AGAIN + MS + WAIT_NS));
            assert_eq!(rules(&run.found.seen), BY_SERVER, "{name}, {reversed}");
            assert_eq!(run.engine.tracked().waiting, 0, "{name}");
        }
    }
}

#[test]
fn a_client_of_another_host_does_not_wait() {
    let mut run = issued();
    let client = full(role::CLIENT, 2, AGAIN, Some(1));
    run.push(&Record::Wire(client));
    run.push(&Record::Handshake(library(&client)));
    run.push(&Record::Tick(AGAIN + MS + SETTLE_NS));
    let unknown = "client_not_enough_evidence";
    assert_eq!(
        rules(&run.found.seen),
        [(Role::Client, MissReason::Unknown, unknown)]
    );
}

#[test]
fn a_client_without_a_verdict_is_concluded_after_its_wait() {
    let mut run = issued();
    let client = full(role::CLIENT, 2, AGAIN, Some(1));
    let mut server = full(role::SERVER, 2, AGAIN, Some(1));
    server.end = end::UNKNOWN;
    run.push(&Record::Wire(client));
    run.push(&Record::Wire(server));
    run.push(&Record::Handshake(library(&client)));
    run.push(&Record::Tick(AGAIN + MS + VERDICT_WAIT_NS - 1));
    assert_eq!(run.found.seen.len(), 0);
    assert_eq!(run.engine.tracked().waiting, 1);
    run.push(&Record::Tick(AGAIN + MS + VERDICT_WAIT_NS));
    assert_eq!(run.found.seen.len(), 1);
    assert_eq!(run.engine.tracked().waiting, 0);
}

#[test]
fn the_clients_that_wait_are_bounded() {
    const MAX: u64 = 4_096;
    let mut run = issued();
    for number in 0..=MAX {
        let [client, server] = [role::CLIENT, role::SERVER].map(|role| {
            let mut record = full(role, 2, AGAIN, Some(1));
            record.client_random[..8].copy_from_slice(&number.to_le_bytes());
            record
        });
        run.push(&Record::Wire(client));
        run.push(&Record::Wire(WireRecord {
            end: end::UNKNOWN,
            ..server
        }));
        run.push(&Record::Handshake(library(&client)));
    }
    run.push(&Record::Tick(AGAIN + MS + SETTLE_NS));
    assert_eq!(run.found.seen.len(), 1, "the oldest is concluded at once");
    assert_eq!(run.engine.tracked().waiting, 4_096);
    run.finish();
    assert_eq!(run.found.seen.len(), 4_097);
}
