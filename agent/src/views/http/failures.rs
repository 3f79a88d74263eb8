//! The failed handshakes of late, as `/api/v1/failures` lists them, the latest first.

use std::borrow::Cow;

use serde::Serialize;

use crate::observed::Observed;
use reprise_core::model::{Direction, NetworkEvidence as Trouble, Phase};
use reprise_core::pipeline::{reasons, stats::Failure, wire::alert};

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct FailureRow<'a> {
    seconds_ago: f64,
    peer: String,
    role: &'static str,
    cause: &'static str,
    version: &'static str,
    duration_seconds: f64,
    /// The library's error reason; null where it raised none.
    reason: Option<Cow<'a, str>>,
    alert: Option<Alert>,
    retransmits: [Retransmits; Phase::ALL.len()],
    /// Segments that arrived from beyond data that had not arrived, or without acknowledging what was sent long before.
    missing: u32,
    /// Records that went on, and ClientHellos that came, after at least one retransmission timeout of silence.
    stalls: u32,
    resets_received: u32,
    resets_sent: u32,
    /// Smoothed; null where TCP had not measured it or nobody saw.
    rtt_seconds: Option<f64>,
    /// Null where the wire alone tells of it.
    process: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Alert {
    description: u8,
    name: Option<&'static str>,
    direction: &'static str,
}

#[derive(Debug, Serialize)]
struct Retransmits {
    phase: &'static str,
    sent: u32,
    received: u32,
}

pub(super) fn failures(observed: &Observed) -> Vec<FailureRow<'_>> {
    let now_ns = observed.pipeline.now_ns();
    let recent = observed.pipeline.stats.lately.iter();
    recent
        .map(|failure| row(failure, &observed.status.reasons, now_ns))
        .collect()
}

fn row<'a>(failure: &Failure, names: &'a reasons::Names, now_ns: u64) -> FailureRow<'a> {
    let Trouble {
        retransmits,
        missing,
        stalls,
        resets_received,
        resets_sent,
        rtt_us,
        ..
    } = failure.trouble;
    let seconds = |ns: u64| ns as f64 / 1e9;
    FailureRow {
        seconds_ago: seconds(now_ns.saturating_sub(failure.time_ns)),
        peer: failure.peer.peer.to_string(),
        role: failure.peer.role.label(),
        cause: failure.cause.label(),
        version: failure.version.label(),
        duration_seconds: seconds(failure.duration_ns),
        reason: (failure.reason != 0).then(|| reasons::name(names, failure.reason)),
        alert: failure.alert.map(|(description, arrived)| Alert {
            description,
            name: alert::name(description),
            direction: if arrived { "received" } else { "sent" },
        }),
        retransmits: Phase::ALL.map(|phase| Retransmits {
            phase: phase.label(),
            sent: retransmits.get(phase, Direction::Sent),
            received: retransmits.get(phase, Direction::Received),
        }),
        missing,
        stalls,
        resets_received,
        resets_sent,
        rtt_seconds: rtt_us.map(|rtt_us| f64::from(rtt_us) / 1e6),
        process: (failure.tgid != 0).then_some(failure.tgid),
    }
}
