//! Tests of misses that wait for evidence of their reason.

use reprise_ebpf::handshake::{flag as library_flag, role};

use super::{
    BOUNDS, MS, Run,
    verdicts::{AGAIN, SECOND, full, library, rules},
};
use crate::{
    model::{MissReason, Role},
    pipeline::{
        correlate::{SETTLE_NS, undecided_misses::EVIDENCE_WAIT_NS},
        record::Record,
    },
};

/// A server's handshake in its packets and in its library, which found no session. It issues a
/// ticket under this key.
fn server(random: u8, time_ns: u64, offered: Option<u64>, key: u32) -> [Record; 2] {
    let mut record = full(role::SERVER, random, time_ns, offered);
    record.given_ticket.key = key;
    record.lifetime = 7_200;
    let mut event = library(&record);
    event.flags |= library_flag::LOOKUPS;
    [Record::Wire(record), Record::Handshake(event)]
}

/// A server that has used key 1, and misses a ticket under it, with its client on the same host.
fn missed() -> Run {
    let mut run = Run::new(BOUNDS);
    let client = full(role::CLIENT, 2, AGAIN, Some(9));
    let records = [
        &server(1, SECOND, None, 1)[..],
        &[Record::Tick(2 * SECOND)],
        &server(2, AGAIN, Some(9), 2),
        &[Record::Wire(client), Record::Handshake(library(&client))],
    ];
    for record in records.concat() {
        run.push(&record);
    }
    run.push(&Record::Tick(AGAIN + MS + SETTLE_NS));
    run.found.seen.clear();
    run
}

#[test]
fn handshakes_that_follow_show_the_reason() {
    let mut run = missed();
    for number in 3..5 {
        let time_ns = AGAIN + u64::from(number) * 100 * MS;
        for record in server(number, time_ns, None, 2) {
            run.push(&record);
        }
    }
    run.push(&Record::Tick(AGAIN + MS + EVIDENCE_WAIT_NS - 1));
    assert!(run.found.seen.iter().all(|seen| seen.miss.is_none()));
    run.found.seen.clear();
    run.push(&Record::Tick(AGAIN + MS + EVIDENCE_WAIT_NS));
    let both = [Role::Server, Role::Client];
    let expected = both.map(|role| (role, MissReason::RetiredKey, "key_replaced"));
    assert_eq!(rules(&run.found.seen), expected);
}

#[test]
fn without_evidence_the_reason_is_unknown_after_the_wait() {
    let mut run = missed();
    assert_eq!(run.engine.tracked().waiting, 2, "the server and its client");
    run.push(&Record::Tick(AGAIN + MS + EVIDENCE_WAIT_NS));
    let expected = [
        (Role::Server, MissReason::Unknown, "not_enough_evidence"),
        (
            Role::Client,
            MissReason::Unknown,
            "client_not_enough_evidence",
        ),
    ];
    assert_eq!(rules(&run.found.seen), expected);
    assert_eq!(run.engine.tracked().waiting, 0);
}

#[test]
fn the_misses_that_wait_for_evidence_are_bounded() {
    const MAX: usize = 4_096;
    let mut run = Run::new(BOUNDS);
    for number in 0..=MAX as u64 {
        let [wire, event] = server(2, AGAIN, Some(9), 2);
        let (Record::Wire(mut wire), Record::Handshake(mut event)) = (wire, event) else {
            unreachable!("a record of each sensor");
        };
        wire.client_random[..8].copy_from_slice(&number.to_le_bytes());
        event.client_random = wire.client_random;
        run.push(&Record::Wire(wire));
        run.push(&Record::Handshake(event));
    }
    run.push(&Record::Tick(AGAIN + MS + SETTLE_NS));
    assert_eq!(run.found.seen.len(), 1, "the oldest is concluded at once");
    assert_eq!(run.engine.tracked().waiting, MAX);
    run.finish();
    assert_eq!(run.found.seen.len(), MAX + 1);
}
