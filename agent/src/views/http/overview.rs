//! Body of `/api/v1/overview`: the data of the page, in one response of bounded size.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::observed::Observed;
use reprise_core::{
    model::{Resumption, Role},
    pipeline::stats::{SLOT_NS, Stats},
};

/// Sums since the start and the last hour, by role.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// Length of a slot of `history`, seconds.
    slot_seconds: u64,
    /// Peers with sums of their own, over both roles.
    peers: usize,
    roles: BTreeMap<&'static str, RoleSums>,
}

#[derive(Debug, Serialize)]
struct RoleSums {
    full: u64,
    resumed: u64,
    /// Completed handshakes whose resumption is not known.
    unknown: u64,
    /// Failed handshakes by cause, without zeroes.
    failures: BTreeMap<&'static str, u64>,
    /// Handshakes with at least one retransmission.
    with_loss: WithLoss,
    /// Slots of the last hour, oldest first.
    history: Series,
}

#[derive(Debug, Serialize)]
struct WithLoss {
    completed: u64,
    failed: u64,
}

/// One value per slot and kind.
#[derive(Debug, Default, Serialize)]
struct Series {
    full: Vec<u32>,
    resumed: Vec<u32>,
    unknown: Vec<u32>,
    failed: Vec<u32>,
}

pub(super) fn overview(observed: &Observed) -> Overview {
    let stats = &observed.pipeline.stats;
    let now_ns = observed.pipeline.now_ns();
    let roles = Role::ALL.into_iter();
    Overview {
        slot_seconds: SLOT_NS / 1_000_000_000,
        peers: stats.peers.len(),
        roles: roles
            .map(|role| (role.label(), sums(stats, role, now_ns)))
            .collect(),
    }
}

fn sums(stats: &Stats, role: Role, now_ns: u64) -> RoleSums {
    let versions = &stats.handshakes[role];
    let sum = |resumption| versions.values().map(|sums| sums[resumption]).sum();
    let failures = stats.failures[role].into_iter();
    let failures = failures.filter(|(_, count)| *count > 0);
    let with_loss = stats.with_loss[role];
    RoleSums {
        full: sum(Resumption::Full),
        resumed: sum(Resumption::Resumed),
        unknown: sum(Resumption::Unknown),
        failures: failures
            .map(|(cause, count)| (cause.label(), count))
            .collect(),
        with_loss: WithLoss {
            completed: with_loss.completed,
            failed: with_loss.failed,
        },
        history: history(stats, role, now_ns),
    }
}

fn history(stats: &Stats, role: Role, now_ns: u64) -> Series {
    let mut series = Series::default();
    for slot in stats.history[role].until(now_ns) {
        series.full.push(slot.completed[Resumption::Full]);
        series.resumed.push(slot.completed[Resumption::Resumed]);
        series.unknown.push(slot.completed[Resumption::Unknown]);
        series.failed.push(slot.failed);
    }
    series
}
