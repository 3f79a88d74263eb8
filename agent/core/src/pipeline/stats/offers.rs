//! Offers of one peer: of its clients to servers here, or of clients here to it.

use enum_map::{Enum, EnumMap};

use super::{
    failed_offers::FailedOffers, given::Given, merge::Merge, outcomes::OfferSums, window::Window,
};
use crate::model::{MissReason, Observation, OfferOutcome, ServiceId};

/// What the window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum Counted {
    Accepted,
    Missed(MissReason),
    /// No offer of a client that had completed a handshake before.
    ReturnedWithoutOffer,
}

/// Slots of the window. There is one window per peer, and alerts need no finer resolution.
const SLOTS: usize = 5;

/// The newest miss of a peer. Its evidence is in [`super::MissExamples`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastMiss {
    /// The service that missed it; `None` where it is not on this host.
    pub service: Option<ServiceId>,
    /// End of the handshake, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// Offer sums of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    /// Handshakes by offer.
    pub sums: OfferSums,
    /// Missed offers by reason.
    pub misses: EnumMap<MissReason, u64>,
    /// The newest miss.
    pub last_miss: Option<LastMiss>,
    /// What the server had given the last client that returned without an offer.
    pub given_before: Option<Given>,
    /// Failed handshakes with and without an offer.
    pub failed: FailedOffers,
    /// Completed handshakes without an offer, of clients that were given a session before.
    pub returned_without: u64,
    /// End of the last one, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_returned_ns: u64,
    window: Window<{ Counted::LENGTH }, SLOTS>,
}

/// Offers within the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentOffers {
    /// Accepted offers.
    pub accepted: u64,
    /// Missed offers by reason.
    pub misses: EnumMap<MissReason, u64>,
    /// Completed handshakes without an offer, of clients that had completed one before.
    pub returned_without_offer: u64,
}

impl Offers {
    /// Adds a handshake; `given` is what the server gave the client before.
    pub(super) fn record(
        &mut self,
        seen: &Observation,
        outcome: OfferOutcome,
        given: Option<Given>,
        window_ns: u64,
    ) {
        self.sums.add(outcome);
        let counted = match outcome {
            OfferOutcome::Unknown
            | OfferOutcome::ExternalAccepted
            | OfferOutcome::ExternalMissed
            | OfferOutcome::ExternalFailed
            | OfferOutcome::Failed(..) => return,
            OfferOutcome::NotOffered if given.is_none() => return,
            OfferOutcome::NotOffered => {
                self.given_before = given;
                if given == Some(Given::Session) {
                    self.returned_without += 1;
                    self.last_returned_ns = seen.time_ns;
                }
                Counted::ReturnedWithoutOffer
            }
            OfferOutcome::Accepted(_) => Counted::Accepted,
            OfferOutcome::Missed(_, reason) => {
                self.misses[reason] += 1;
                if let Some(miss) = seen.miss {
                    self.last_miss = Some(LastMiss {
                        service: miss.service,
                        time_ns: seen.time_ns,
                    });
                }
                Counted::Missed(reason)
            }
        };
        self.window
            .add(counted.into_usize(), seen.time_ns, window_ns);
    }

    /// Offers in the window that ends at `now_ns`.
    #[must_use]
    pub(super) fn recent(&self, now_ns: u64, window_ns: u64) -> RecentOffers {
        let sums = self.window.sums(now_ns, window_ns);
        let sum = |counted: Counted| sums[counted.into_usize()];
        RecentOffers {
            accepted: sum(Counted::Accepted),
            misses: EnumMap::from_fn(|reason| sum(Counted::Missed(reason))),
            returned_without_offer: sum(Counted::ReturnedWithoutOffer),
        }
    }
}

impl Merge for Offers {
    fn merge(&mut self, other: &Self) {
        self.sums.merge(&other.sums);
        self.misses.merge(&other.misses);
        self.last_miss = other.last_miss.or(self.last_miss);
        self.given_before = other.given_before.or(self.given_before);
        self.failed.merge(&other.failed);
        self.returned_without += other.returned_without;
        self.last_returned_ns = self.last_returned_ns.max(other.last_returned_ns);
        self.window.merge(&other.window);
    }
}

impl RecentOffers {
    /// Number of missed offers.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.misses.values().sum()
    }

    /// The commonest reason of the misses; of two equally common ones, the more specific one, which
    /// is declared first.
    #[must_use]
    pub fn commonest_miss(&self) -> Option<MissReason> {
        let reasons = MissReason::ALL.into_iter().rev();
        let commonest = reasons.max_by_key(|reason| self.misses[*reason])?;
        (self.misses[commonest] > 0).then_some(commonest)
    }
}
