//! Bodies of the JSON endpoints.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use crate::{
    observed::Observed,
    status::{self, BpfMode, LibraryStatus, Sensor, Status, Uncovered},
};
use reprise_core::model::{FailureCause as Cause, Mechanism, MissReason as Reason, Resumption};
use reprise_core::pipeline::{advice::advice, stats::SessionsLost};

/// One peer, as `/api/v1/peers` lists it.
#[derive(Debug, Serialize)]
pub(super) struct PeerRow {
    peer: String,
    role: &'static str,
    full: u64,
    resumed: u64,
    /// Completed, and not known which of both.
    unknown: u64,
    /// Resumed share over the window; null with no handshake in it that is known to be either.
    resume_ratio: Option<f64>,
    failures: BTreeMap<&'static str, u64>,
    /// Handshakes that met loss.
    with_loss: u64,
    /// Full handshakes right after one that met loss, of a peer that had resumed before.
    full_after_loss: u64,
    /// Sessions that loss cost: never stored, forgotten, and offered again in vain.
    sessions_lost: SessionsLost,
    /// Sessions offered, by mechanism.
    offers: BTreeMap<&'static str, Offered>,
    /// Completed handshakes without an offer.
    not_offered: u64,
    /// Missed offers by diagnosed reason.
    misses: BTreeMap<&'static str, u64>,
    /// The alert that stands.
    alert: Option<Alert>,
}

#[derive(Debug, Serialize)]
struct Offered {
    accepted: u64,
    missed: u64,
}

#[derive(Debug, Serialize)]
struct Alert {
    /// A miss reason, or `never_offered`.
    reason: &'static str,
    /// Reason and remedy in words.
    advice: String,
}

/// At most `limit` peers, those with the most handshakes that were not resumed.
pub(super) fn peers(observed: &Observed, limit: usize) -> Vec<PeerRow> {
    let stats = &observed.pipeline.stats;
    let mut peers: Vec<_> = stats.peers.iter().collect();
    if peers.len() > limit {
        peers.sort_by_cached_key(|(_, sums)| {
            let failed: u64 = sums.failures.iter().sum();
            Reverse(sums.completed[Resumption::Full as usize] + failed)
        });
        peers.truncate(limit);
    }
    peers
        .into_iter()
        .map(|(key, sums)| PeerRow {
            peer: key.peer.to_string(),
            role: key.role.label(),
            full: sums.completed[Resumption::Full as usize],
            resumed: sums.completed[Resumption::Resumed as usize],
            unknown: sums.completed[Resumption::Unknown as usize],
            resume_ratio: stats.peers.ratio(sums, observed.pipeline.now_ns()),
            failures: Cause::ALL
                .into_iter()
                .filter(|cause| sums.failures[*cause as usize] > 0)
                .map(|cause| (cause.label(), sums.failures[cause as usize]))
                .collect(),
            with_loss: sums.with_loss,
            full_after_loss: sums.full_after_loss,
            sessions_lost: sums.sessions_lost,
            offers: Mechanism::ALL
                .into_iter()
                .map(|mechanism| (mechanism, sums.offers.offered[mechanism as usize]))
                .filter(|(_, [accepted, missed])| accepted + missed > 0)
                .map(|(mechanism, [accepted, missed])| {
                    (mechanism.label(), Offered { accepted, missed })
                })
                .collect(),
            not_offered: sums.offers.not_offered,
            misses: Reason::ALL
                .into_iter()
                .filter(|reason| sums.offers.misses[*reason as usize] > 0)
                .map(|reason| (reason.label(), sums.offers.misses[reason as usize]))
                .collect(),
            alert: sums.alert.map(|topic| Alert {
                reason: topic.label(),
                advice: advice(&observed.pipeline, key, sums).unwrap_or_default(),
            }),
        })
        .collect()
}

/// The agent, as `/api/v1/status` describes it.
#[derive(Debug, Serialize)]
pub(super) struct AgentStatus {
    version: &'static str,
    ready: bool,
    not_ready_reason: Option<String>,
    sensors: BTreeMap<&'static str, status::Health>,
    libraries_observed: usize,
    open_handshakes: u64,
    /// What events reach the agent by.
    transport: Option<&'static str>,
    /// How programs know which library they run in.
    library_data: Option<&'static str>,
    /// Instructions that the kernel's verifier walked, by program; empty before 5.16.
    verified_instructions: BTreeMap<String, u32>,
}

pub(super) fn status(observed: &Observed) -> AgentStatus {
    let status: &Status = &observed.status;
    let reason = status.not_ready();
    AgentStatus {
        version: env!("CARGO_PKG_VERSION"),
        ready: reason.is_none(),
        not_ready_reason: reason,
        sensors: Sensor::ALL
            .into_iter()
            .map(|sensor| (sensor.label(), status.sensor(sensor).clone()))
            .collect(),
        libraries_observed: status
            .libraries
            .iter()
            .filter(|library| library.observed)
            .count(),
        open_handshakes: status.open_handshakes,
        transport: status.mode.map(BpfMode::transport),
        library_data: status.mode.map(BpfMode::library_data),
        verified_instructions: status.verified.clone(),
    }
}

/// Who is observed, as `/api/v1/libraries` tells.
#[derive(Debug, Serialize)]
pub(super) struct Libraries<'a> {
    /// Every file that carries a TLS library and is in use or at rest, observed or not.
    libraries: Vec<LibraryRow<'a>>,
    /// Processes that use an observed library.
    observed_processes: u64,
    /// Processes that use TLS libraries of which none is observed, by reason.
    uncovered: Vec<UncoveredRow<'a>>,
}

#[derive(Debug, Serialize)]
struct LibraryRow<'a> {
    #[serde(flatten)]
    library: Cow<'a, LibraryStatus>,
    processes: u64,
}

#[derive(Debug, Serialize)]
struct UncoveredRow<'a> {
    reason: status::Reason,
    #[serde(flatten)]
    uncovered: &'a Uncovered,
    remedy: &'static str,
}

pub(super) fn libraries(observed: &Observed) -> Libraries<'_> {
    let status = &observed.status;
    let coverage = &status.coverage;
    // What stands for the libraries of handshakes that only the wire showed.
    let wire = (observed.pipeline.stats.wire > 0).then(LibraryStatus::wire);
    let libraries = status.libraries.iter().map(Cow::Borrowed);
    let libraries = libraries.chain(wire.map(Cow::Owned));
    let libraries = libraries.map(|library| LibraryRow {
        processes: coverage.users.get(&library.id).copied().unwrap_or(0),
        library,
    });
    let uncovered = coverage.uncovered.iter();
    Libraries {
        libraries: libraries.collect(),
        observed_processes: coverage.observed,
        uncovered: uncovered
            .map(|(reason, uncovered)| UncoveredRow {
                reason: *reason,
                uncovered,
                remedy: reason.remedy(),
            })
            .collect(),
    }
}
