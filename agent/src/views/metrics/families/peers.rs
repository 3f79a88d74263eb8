//! Families per peer.

use std::fmt;

use enum_map::EnumMap;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{count, counter, gauge, set};
use crate::observed::{Observed, Shared};
use reprise_core::{
    model::{FailureCause, MissReason, Resumption, Role},
    pipeline::stats::{AlertReason, PeerStats},
};

/// Name shown for the peers without sums of their own.
const OTHER: &str = "other";

/// A copy of the shown sums of one peer.
pub(super) struct Row {
    pub(super) peer: String,
    pub(super) role: Role,
    completed: EnumMap<Resumption, u64>,
    /// Failure causes that have happened; not all, which would take four times the memory.
    failures: Vec<(FailureCause, u64)>,
    /// Miss reasons that have happened.
    pub(super) misses: Vec<(MissReason, u64)>,
    /// Outcomes of external PSKs that have happened.
    pub(super) external: Vec<(&'static str, u64)>,
    ratio: Option<f64>,
    pub(super) alert: Option<AlertReason>,
}

impl Row {
    fn new(observed: &Observed, peer: String, role: Role, sums: &PeerStats) -> Self {
        let pipeline = &observed.pipeline;
        let failures = sums.failures.into_iter();
        let misses = sums.offers.misses.into_iter();
        let external = sums.offers.sums.external.labelled().into_iter();
        Self {
            peer,
            role,
            completed: sums.completed,
            failures: failures.filter(|(_, sum)| *sum > 0).collect(),
            misses: misses.filter(|(_, sum)| *sum > 0).collect(),
            external: external.filter(|(_, sum)| *sum > 0).collect(),
            ratio: pipeline.stats.peers.ratio(sums, pipeline.now_ns()),
            alert: sums.alert,
        }
    }
}

/// Peers ordered by name, then role; those without sums of their own are last.
pub(super) fn rows(shared: &Shared) -> Vec<Row> {
    let keys: Vec<_> = {
        let observed = shared.lock();
        let peers = observed.pipeline.stats.peers.iter();
        peers.map(|(key, _)| key.clone()).collect()
    };
    let mut rows = Vec::with_capacity(keys.len() + Role::ALL.len());
    shared.for_each_peer(&keys, |observed, key, sums| {
        rows.push(Row::new(observed, key.peer.to_string(), key.role, sums));
    });
    drop(keys);
    rows.sort_unstable_by(|left, right| (&left.peer, left.role).cmp(&(&right.peer, right.role)));
    let observed = shared.lock();
    for (role, sums) in observed.pipeline.stats.peers.other() {
        if *sums != PeerStats::default() {
            rows.push(Row::new(&observed, OTHER.to_owned(), role, sums));
        }
    }
    rows
}

pub(super) fn peers(rows: &[Row], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_peer_handshakes",
        "Completed TLS handshakes per peer.",
        None,
    )?;
    for Row {
        peer,
        role,
        completed,
        ..
    } in rows
    {
        for (resumption, sum) in *completed {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("resumption", resumption.label()),
            ];
            if resumption.shows(sum) {
                count(&mut family, labels, sum)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_peer_handshake_failures",
        "TLS handshakes that did not complete, per peer.",
        None,
    )?;
    for Row {
        peer,
        role,
        failures,
        ..
    } in rows
    {
        // Zeroes are left out: eight causes for every peer would be mostly zeroes.
        for (cause, sum) in failures {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("cause", cause.label()),
            ];
            count(&mut family, labels, *sum)?;
        }
    }
    let mut family = gauge(
        encoder,
        "reprise_peer_resume_ratio",
        "Resumed share of completed handshakes over the window, 0 to 1.",
    )?;
    for Row {
        peer, role, ratio, ..
    } in rows
    {
        if let Some(ratio) = ratio {
            set(
                &mut family,
                [("peer", peer.as_str()), ("role", role.label())],
                *ratio,
            )?;
        }
    }
    Ok(())
}
