//! Tests of misses whose reason later handshakes show.

use super::host::{Host, Offered, SECOND};
use crate::{
    model::{Lookup, MissReason, Observation},
    pipeline::diagnose::UndecidedMiss,
};

/// A miss without a reason, which may have one later.
fn undecided(host: &mut Host, offered: Offered) -> (Observation, UndecidedMiss) {
    let mut seen = host.observation(443, offered, false, Offered::Nothing);
    let undecided = host.diagnoser.diagnose(&mut seen).expect("no reason yet");
    assert_eq!(seen.miss.map(|miss| miss.reason), Some(MissReason::Unknown));
    (seen, undecided)
}

/// The reason of the miss now.
fn reason(host: &mut Host, (mut seen, undecided): (Observation, UndecidedMiss)) -> MissReason {
    host.diagnoser.reconsider(&mut seen, &undecided);
    seen.miss.expect("a miss").reason
}

fn accept(host: &mut Host, worker: u32, offered: Offered) {
    host.wait(SECOND / 5).tgid = Some(worker);
    host.handshake(443, offered, true, Offered::Nothing);
}

#[test]
fn the_first_miss_after_a_key_was_replaced() {
    for kind in [Offered::Psk as fn(u64, u32) -> Offered, Offered::Ticket] {
        let mut host = Host::new();
        accept(&mut host, 1, kind(1, 7));
        let miss = undecided(&mut host, kind(2, 7));
        for ticket in 10..12 {
            accept(&mut host, 1, kind(ticket, 8));
            assert_eq!(reason(&mut host, miss), MissReason::Unknown);
        }
        accept(&mut host, 1, kind(12, 8));
        assert_eq!(reason(&mut host, miss), MissReason::RetiredKey);
        accept(&mut host, 1, kind(3, 7));
        assert_eq!(reason(&mut host, miss), MissReason::Unknown, "in use again");
    }
}

#[test]
fn a_key_that_is_replaced_after_an_unobserved_look_up_is_not_the_reason() {
    let mut host = Host::new();
    host.session.lookup = Lookup::Unobserved;
    accept(&mut host, 1, Offered::Psk(1, 7));
    let miss = undecided(&mut host, Offered::Psk(2, 7));
    for ticket in 10..20 {
        accept(&mut host, 1, Offered::Psk(ticket, 8));
    }
    assert_eq!(reason(&mut host, miss), MissReason::Unknown);
}

#[test]
fn the_first_miss_of_a_worker_with_a_key_of_its_own() {
    let mut host = Host::new();
    accept(&mut host, 1, Offered::Psk(1, 7));
    host.tgid = Some(2);
    let miss = undecided(&mut host, Offered::Psk(2, 7));
    accept(&mut host, 2, Offered::Psk(3, 8));
    assert_eq!(reason(&mut host, miss), MissReason::Unknown, "a reload");
    accept(&mut host, 1, Offered::Psk(4, 7));
    assert_eq!(reason(&mut host, miss), MissReason::OtherProcess);
    accept(&mut host, 2, Offered::Psk(5, 7));
    assert_eq!(reason(&mut host, miss), MissReason::Unknown, "a shared key");
}

#[test]
fn the_first_miss_of_a_worker_with_a_cache_of_its_own() {
    let mut host = Host::new();
    host.tgid = Some(1);
    for id in 1..4 {
        host.full(443, Offered::Id(id));
    }
    host.tgid = Some(2);
    let miss = undecided(&mut host, Offered::Id(1));
    host.full(443, Offered::Id(10));
    assert_eq!(reason(&mut host, miss), MissReason::Unknown);
    accept(&mut host, 1, Offered::Id(2));
    accept(&mut host, 2, Offered::Id(10));
    assert_eq!(reason(&mut host, miss), MissReason::OtherProcess);
    accept(&mut host, 2, Offered::Id(3));
    assert_eq!(
        reason(&mut host, miss),
        MissReason::Unknown,
        "a shared cache"
    );
}

#[test]
fn the_first_misses_after_a_cache_was_emptied() {
    let mut host = Host::new();
    for id in 0..20 {
        host.full(443, Offered::Id(id));
    }
    host.wait(10 * SECOND);
    for id in 20..26 {
        host.full(443, Offered::Id(id));
    }
    for id in 0..26 {
        accept(&mut host, 443, Offered::Id(id));
    }
    host.wait(SECOND);
    let misses: Vec<_> = (20..26)
        .map(|id| {
            let miss = undecided(&mut host, Offered::Id(id));
            host.full(443, Offered::Id(100 + id));
            miss
        })
        .collect();
    assert_eq!(reason(&mut host, misses[0]), MissReason::Unknown);
    for id in 120..123 {
        accept(&mut host, 443, Offered::Id(id));
    }
    for miss in misses {
        assert_eq!(reason(&mut host, miss), MissReason::Removed);
    }
}

/// A cache that was emptied: what is accepted later must not show that it was full.
#[test]
fn a_full_cache_is_no_late_reason() {
    let mut host = Host::new();
    for id in 0..60 {
        host.full(443, Offered::Id(id));
    }
    for id in 57..60 {
        accept(&mut host, 443, Offered::Id(id));
    }
    let newest = undecided(&mut host, Offered::Id(59));
    let oldest = undecided(&mut host, Offered::Id(0));
    host.full(443, Offered::Id(100));
    accept(&mut host, 443, Offered::Id(100));
    for miss in [newest, oldest] {
        assert_eq!(reason(&mut host, miss), MissReason::Unknown);
    }
}
