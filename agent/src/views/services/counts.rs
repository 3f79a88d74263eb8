//! Handshakes of one service, as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use reprise_core::{
    model::Resumption,
    pipeline::stats::{Outcomes, ServiceSums},
};

/// Handshakes of one service, without zeroes of causes, mechanisms and reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCounts {
    /// Full handshakes.
    pub full: u64,
    /// Resumed handshakes.
    pub resumed: u64,
    /// Completed handshakes whose resumption is not known.
    pub unknown: u64,
    /// Completed handshakes whose client had closed or reset the connection before.
    pub gone: u64,
    /// Failed handshakes by cause.
    pub failures: BTreeMap<String, u64>,
    /// Offered sessions by mechanism.
    pub offers: BTreeMap<String, OfferCounts>,
    /// Missed offers by diagnosed reason.
    pub misses: BTreeMap<String, u64>,
}

/// Offers of one mechanism.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferCounts {
    /// The server resumed the session.
    pub accepted: u64,
    /// The server made a full handshake instead.
    pub missed: u64,
    /// The handshake failed.
    pub failed: u64,
}

impl From<Outcomes> for OfferCounts {
    fn from(outcomes: Outcomes) -> Self {
        Self {
            accepted: outcomes.accepted,
            missed: outcomes.missed,
            failed: outcomes.failed,
        }
    }
}

impl From<&ServiceSums> for ServiceCounts {
    fn from(sums: &ServiceSums) -> Self {
        let failures = sums.failures.into_iter().filter(|(_, count)| *count > 0);
        let misses = sums.misses.into_iter().filter(|(_, count)| *count > 0);
        let offers = sums.offers.offered.into_iter();
        let offers = offers.filter(|(_, outcomes)| outcomes.total() > 0);
        Self {
            full: sums.completed[Resumption::Full],
            resumed: sums.completed[Resumption::Resumed],
            unknown: sums.completed[Resumption::Unknown],
            gone: sums.gone,
            failures: failures
                .map(|(cause, count)| (cause.label().to_owned(), count))
                .collect(),
            offers: offers
                .map(|(mechanism, outcomes)| (mechanism.label().to_owned(), outcomes.into()))
                .collect(),
            misses: misses
                .map(|(reason, count)| (reason.label().to_owned(), count))
                .collect(),
        }
    }
}
