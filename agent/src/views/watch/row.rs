//! One peer of the table.

use super::text::commonest_problem;
use crate::observed::Observed;
use reprise_core::{
    model::Resumption,
    pipeline::{
        advice::{Advice, advice},
        stats::{PeerKey, PeerStats},
    },
};

/// One peer, copied so that the lock can be released.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) key: PeerKey,
    pub(super) name: String,
    pub(super) sums: PeerStats,
    /// Resumed share over the window, 0 to 1.
    pub(super) recent: Option<f64>,
    /// Advice about its misses.
    pub(super) advice: Option<Advice>,
}

impl Row {
    pub(super) fn new(observed: &Observed, key: &PeerKey, sums: &PeerStats) -> Self {
        let pipeline = &observed.pipeline;
        Self {
            key: key.clone(),
            name: key.peer.to_string(),
            sums: *sums,
            recent: pipeline.stats.peers.ratio(sums, pipeline.now_ns()),
            advice: advice(pipeline, key, sums),
        }
    }

    pub(super) fn full(&self) -> u64 {
        self.sums.completed[Resumption::Full]
    }

    pub(super) fn resumed(&self) -> u64 {
        self.sums.completed[Resumption::Resumed]
    }

    /// Reason of the alert, else the commonest miss reason or failure cause.
    pub(super) fn problem(&self) -> &'static str {
        if let Some(reason) = self.sums.alert {
            return reason.label();
        }
        commonest_problem(&self.sums.offers.misses, &self.sums.failures)
    }
}
