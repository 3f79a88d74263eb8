//! Body of `/api/v1/failures`: the most recent failed handshakes, the latest first.

use std::borrow::Cow;

use serde::Serialize;

use crate::{observed::Observed, views::owner::OwnerRow};
use reprise_core::{
    model::{self, Direction, Mechanism, Offer, Phase},
    pipeline::{reasons, stats::Failure, wire::alert},
};

/// One failed handshake.
#[derive(Debug, Serialize)]
pub(super) struct FailureRow<'a> {
    seconds_ago: f64,
    peer: String,
    role: &'static str,
    cause: &'static str,
    version: &'static str,
    duration_seconds: f64,
    /// Whether the client offered a session; null if its ClientHello was not read.
    offered: Option<bool>,
    /// Mechanism of the offer; null without one.
    mechanism: Option<&'static str>,
    /// Error reason of the library; null without one.
    reason: Option<Cow<'a, str>>,
    alert: Option<Alert>,
    retransmits: [Retransmits; Phase::ALL.len()],
    /// Segments that arrived beyond a gap in the stream, or that did not acknowledge data sent long
    /// before.
    missing: u32,
    /// Records that continued, and ClientHellos that arrived, after at least one retransmission
    /// timeout of silence.
    stalls: u32,
    resets_received: u32,
    resets_sent: u32,
    /// Smoothed round-trip time; null if it was not measured.
    rtt_seconds: Option<f64>,
    /// Process; null for a handshake that only the wire showed.
    process: Option<u32>,
    #[serde(flatten)]
    owner: OwnerRow,
}

#[derive(Debug, Serialize)]
struct Alert {
    description: u8,
    name: Option<&'static str>,
    direction: &'static str,
}

impl From<model::Alert> for Alert {
    fn from(alert: model::Alert) -> Self {
        Self {
            description: alert.description,
            name: alert::name(alert.description),
            direction: alert.direction.label(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Retransmits {
    phase: &'static str,
    sent: u32,
    received: u32,
}

pub(super) fn failures(observed: &Observed) -> Vec<FailureRow<'_>> {
    let now_ns = observed.pipeline.now_ns();
    let recent = observed.pipeline.stats.recent_failures.latest_first();
    let recent = recent.into_iter();
    recent
        .map(|failure| row(failure, &observed.status.reasons, now_ns))
        .collect()
}

fn row<'a>(failure: &Failure, names: &'a reasons::Names, now_ns: u64) -> FailureRow<'a> {
    let network = &failure.network;
    let (offered, mechanism) = match failure.offer {
        Offer::Unknown => (None, None),
        Offer::Nothing | Offer::ExternalPsk => (Some(false), None),
        Offer::Session(mechanism) => (Some(true), Some(mechanism)),
    };
    let seconds = |ns: u64| ns as f64 / 1e9;
    FailureRow {
        seconds_ago: seconds(now_ns.saturating_sub(failure.time_ns)),
        peer: failure.peer.peer.to_string(),
        role: failure.peer.role.label(),
        cause: failure.cause.label(),
        version: failure.version.label(),
        duration_seconds: seconds(failure.duration_ns),
        offered,
        mechanism: mechanism.map(Mechanism::label),
        reason: failure.reason.map(|reason| reasons::name(names, reason)),
        alert: failure.alert.map(Alert::from),
        retransmits: Phase::ALL.map(|phase| Retransmits {
            phase: phase.label(),
            sent: network.retransmits.get(phase, Direction::Sent),
            received: network.retransmits.get(phase, Direction::Received),
        }),
        missing: network.missing,
        stalls: network.stalls,
        resets_received: network.resets_received,
        resets_sent: network.resets_sent,
        rtt_seconds: network.rtt_us.map(|rtt_us| f64::from(rtt_us) / 1e6),
        process: failure.tgid,
        owner: OwnerRow::from(&*failure.owner),
    }
}
