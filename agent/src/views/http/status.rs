//! Bodies of `/api/v1/status` and `/api/v1/libraries`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

use crate::{
    observed::Observed,
    status::{self, BpfMode, LibraryStatus, OwnerLookup, Sensor, Status, Uncovered},
};

/// Body of `/api/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct AgentStatus {
    version: &'static str,
    ready: bool,
    not_ready_reason: Option<String>,
    sensors: BTreeMap<&'static str, status::Health>,
    libraries_observed: usize,
    open_handshakes: u64,
    /// Transport of events from the kernel to the agent.
    transport: Option<&'static str>,
    /// Source of the library identity in the programs.
    library_data: Option<&'static str>,
    /// Source of the owners of processes.
    owner_lookup: Option<&'static str>,
    /// Instructions processed by the verifier, by program; empty before kernel 5.16.
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
        owner_lookup: status.owner_lookup.map(OwnerLookup::describe),
        verified_instructions: status.verified.clone(),
    }
}

/// Body of `/api/v1/libraries`.
#[derive(Debug, Serialize)]
pub(super) struct Libraries<'a> {
    /// TLS library files that are in use or installed, observed or not.
    libraries: Vec<LibraryRow<'a>>,
    /// Processes that use an observed library.
    observed_processes: u64,
    /// Processes that use TLS libraries but no observed one, by reason.
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
    // One entry stands for the libraries of handshakes that only the wire showed.
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
