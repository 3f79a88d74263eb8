//! Outcomes of handshakes with and without an offer.

use enum_map::EnumMap;

use super::merge::Merge;
use crate::model::{Mechanism, OfferOutcome};

/// Numbers of offers by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcomes {
    /// The server resumed the session.
    pub accepted: u64,
    /// The server made a full handshake instead.
    pub missed: u64,
    /// The handshake failed.
    pub failed: u64,
}

impl Outcomes {
    /// The numbers with their labels.
    #[must_use]
    pub const fn labelled(&self) -> [(&'static str, u64); 3] {
        [
            ("accepted", self.accepted),
            ("missed", self.missed),
            ("failed", self.failed),
        ]
    }

    /// Number of offers.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.accepted + self.missed + self.failed
    }
}

impl Merge for Outcomes {
    fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.missed += other.missed;
        self.failed += other.failed;
    }
}

/// Handshakes by offer. Accepted, missed (both also with external PSKs), not offered and unknown
/// add up to the completed ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfferSums {
    /// Offers by mechanism and outcome.
    pub offered: EnumMap<Mechanism, Outcomes>,
    /// Handshakes with external PSKs.
    pub external: Outcomes,
    /// Completed handshakes without an offer.
    pub not_offered: u64,
    /// Completed handshakes whose ClientHello was not read, or whose resumption is not known.
    pub unknown: u64,
}

impl OfferSums {
    /// Offers of sessions by all mechanisms.
    #[must_use]
    pub fn total(&self) -> Outcomes {
        let mut total = Outcomes::default();
        for outcomes in self.offered.values() {
            total.merge(outcomes);
        }
        total
    }

    /// Adds a handshake.
    pub(super) fn add(&mut self, outcome: OfferOutcome) {
        match outcome {
            OfferOutcome::Unknown => self.unknown += 1,
            OfferOutcome::NotOffered => self.not_offered += 1,
            OfferOutcome::ExternalAccepted => self.external.accepted += 1,
            OfferOutcome::ExternalMissed => self.external.missed += 1,
            OfferOutcome::ExternalFailed => self.external.failed += 1,
            OfferOutcome::Accepted(mechanism) => self.offered[mechanism].accepted += 1,
            OfferOutcome::Missed(mechanism, _) => self.offered[mechanism].missed += 1,
            OfferOutcome::Failed(mechanism, _) => self.offered[mechanism].failed += 1,
        }
    }
}

impl Merge for OfferSums {
    fn merge(&mut self, other: &Self) {
        self.offered.merge(&other.offered);
        self.external.merge(&other.external);
        self.not_offered += other.not_offered;
        self.unknown += other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailureCause, MissReason};

    #[test]
    fn each_outcome_is_counted_once() {
        let mut sums = OfferSums::default();
        for outcome in [
            OfferOutcome::Unknown,
            OfferOutcome::NotOffered,
            OfferOutcome::Accepted(Mechanism::Psk),
            OfferOutcome::Missed(Mechanism::Psk, MissReason::Expired),
            OfferOutcome::Failed(Mechanism::Psk, FailureCause::AlertSent),
        ] {
            sums.add(outcome);
        }
        let one_each = Outcomes {
            accepted: 1,
            missed: 1,
            failed: 1,
        };
        assert_eq!(sums.offered[Mechanism::Psk], one_each);
        assert_eq!((sums.not_offered, sums.unknown), (1, 1));
    }
}
