//! Changes of services and of the host, as the API and the log show them, the latest first.

use std::sync::Arc;

use serde::Serialize;

use super::{owner::OwnerRow, services};
use reprise_core::{
    model::ChangeDetail,
    pipeline::{
        Pipeline,
        changes::{Hits, RecordedChange},
        stats::PeerStats,
    },
};

/// One change, and the offers around it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ChangeRow {
    seconds_ago: f64,
    pub(crate) kind: &'static str,
    /// Null for a change of the whole host.
    pub(crate) service: Option<ChangedService>,
    /// The change in words.
    pub(crate) text: String,
    /// Offers within ten minutes before it.
    before: Offers,
    /// Offers since, for ten minutes or until the next change of the service.
    after: Offers,
}

/// The service that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ChangedService {
    id: u32,
    #[serde(flatten)]
    pub(crate) owner: OwnerRow,
    /// Null where the service is no longer in the table.
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Offers {
    accepted: u64,
    missed: u64,
    /// Null without offers.
    hit_ratio: Option<f64>,
}

impl From<Hits> for Offers {
    fn from(hits: Hits) -> Self {
        Self {
            accepted: hits.accepted,
            missed: hits.missed,
            hit_ratio: hits.ratio(),
        }
    }
}

/// The last changes, at most `count` of those that are retained.
pub(crate) fn latest(pipeline: &Pipeline, count: usize) -> Vec<ChangeRow> {
    let recorded = pipeline.changes().latest_first().take(count);
    recorded.map(|recorded| row(pipeline, recorded)).collect()
}

/// The change within ten minutes before a peer's newest miss, in words; `None` without one.
pub(crate) fn preceding(pipeline: &Pipeline, sums: &PeerStats) -> Option<String> {
    let miss = sums.offers.last_miss?;
    let recorded = pipeline.changes().preceding(miss.service?, miss.time_ns)?;
    let change = &recorded.change;
    let seconds = miss.time_ns.saturating_sub(change.time_ns) as f64 / 1e9;
    Some(format!(
        "{} ({seconds:.0} s before the newest miss)",
        text(&change.detail)
    ))
}

fn row(pipeline: &Pipeline, recorded: &RecordedChange) -> ChangeRow {
    let change = &recorded.change;
    let age_ns = pipeline.now_ns().saturating_sub(change.time_ns);
    let service = change.service.map(|id| {
        let known = pipeline.analysed(id);
        let owner = match known {
            Some(service) => services::owner(pipeline, service),
            None => Arc::clone(pipeline.stats.owners.unknown()),
        };
        ChangedService {
            id: id.0,
            owner: OwnerRow::from(&*owner),
            port: known.map(|service| service.port),
        }
    });
    ChangeRow {
        seconds_ago: age_ns as f64 / 1e9,
        kind: change.detail.kind().label(),
        service,
        text: text(&change.detail),
        before: recorded.before.into(),
        after: recorded.after.into(),
    }
}

fn text(detail: &ChangeDetail) -> String {
    match detail {
        ChangeDetail::Agent => "the agent began to observe".to_owned(),
        ChangeDetail::ServiceReplaced { tgid } => {
            format!("its processes were replaced; process {tgid} was the first of the new ones")
        }
        ChangeDetail::TicketKey { key } => {
            format!("ticket key {:08x} came into use", key.get())
        }
        ChangeDetail::ClockStep { step_ns } => {
            let direction = if *step_ns < 0 { "back" } else { "forward" };
            let seconds = step_ns.unsigned_abs() as f64 / 1e9;
            format!("the clock of the host was stepped {direction} by {seconds:.1} s")
        }
    }
}
