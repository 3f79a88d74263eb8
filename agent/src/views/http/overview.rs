//! Body of `/api/v1/overview`: what the page draws, in one answer of bounded size.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::observed::Observed;
use reprise_core::model::{FailureCause as Cause, Resumption, Role};
use reprise_core::pipeline::stats::SLOT_NS;

/// Sums since the start and the last hour, by role.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// Seconds of one value in `history`.
    slot_seconds: u64,
    /// Peers known by name, over both roles.
    peers: usize,
    roles: BTreeMap<&'static str, RoleSums>,
}

#[derive(Debug, Serialize)]
struct RoleSums {
    full: u64,
    resumed: u64,
    /// Completed, and not known which of both.
    unknown: u64,
    /// By cause; those that did not happen are left out.
    failures: BTreeMap<&'static str, u64>,
    /// Handshakes that met at least one retransmission.
    with_loss: WithLoss,
    /// Oldest first; begins with the first handshake.
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
    let roles = Role::ALL.into_iter().map(|role| {
        let at = role as usize;
        let sum = |resumption: Resumption| {
            let versions = stats.handshakes[at].iter();
            versions.map(|sums| sums[resumption as usize]).sum()
        };
        let causes = Cause::ALL.into_iter();
        let failures = causes.map(|cause| (cause.label(), stats.failures[at][cause as usize]));
        let mut history = Series::default();
        for slot in stats.history[at].until(observed.pipeline.now_ns()) {
            history.full.push(slot.completed[Resumption::Full as usize]);
            history
                .resumed
                .push(slot.completed[Resumption::Resumed as usize]);
            history
                .unknown
                .push(slot.completed[Resumption::Unknown as usize]);
            history.failed.push(slot.failed);
        }
        let sums = RoleSums {
            full: sum(Resumption::Full),
            resumed: sum(Resumption::Resumed),
            unknown: sum(Resumption::Unknown),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            with_loss: WithLoss {
                completed: stats.with_loss[at][0],
                failed: stats.with_loss[at][1],
            },
            history,
        };
        (role.label(), sums)
    });
    Overview {
        slot_seconds: SLOT_NS / 1_000_000_000,
        peers: stats.peers.len(),
        roles: roles.collect(),
    }
}
