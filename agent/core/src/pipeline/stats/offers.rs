//! Offers of one peer: of its clients to servers here, or of clients here to it.

use enum_map::{Enum, EnumMap};

use super::{merge::Merge, outcomes::Outcomes, window::Window};
use crate::model::{KeyName, Mechanism, Miss, MissReason, Observation, OfferOutcome};

/// What the window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum Counted {
    Accepted,
    Missed(MissReason),
    NotOffered,
}

/// Slots of the window. There is one window per peer, and alerts need no finer resolution.
const SLOTS: usize = 5;

/// A missed session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastMiss {
    /// The miss.
    pub miss: Miss,
    /// Name of its ticket's key.
    pub key: Option<KeyName>,
}

/// Offer sums of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    /// Offers by mechanism and outcome.
    pub offered: EnumMap<Mechanism, Outcomes>,
    /// Missed offers by reason.
    pub misses: EnumMap<MissReason, u64>,
    /// Completed handshakes without an offer.
    pub not_offered: u64,
    /// The newest miss.
    pub last_miss: Option<LastMiss>,
    window: Window<{ Counted::LENGTH }, SLOTS>,
}

/// Offers within the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentOffers {
    /// Accepted offers.
    pub accepted: u64,
    /// Missed offers by reason.
    pub misses: EnumMap<MissReason, u64>,
    /// Completed handshakes without an offer.
    pub not_offered: u64,
}

impl Offers {
    /// Adds a completed handshake.
    pub(super) fn record(&mut self, seen: &Observation, outcome: OfferOutcome, window_ns: u64) {
        let counted = match outcome {
            OfferOutcome::Unknown | OfferOutcome::Failed(..) => return,
            OfferOutcome::NotOffered => {
                self.not_offered += 1;
                Counted::NotOffered
            }
            OfferOutcome::Accepted(mechanism) => {
                self.offered[mechanism].accepted += 1;
                Counted::Accepted
            }
            OfferOutcome::Missed(mechanism, reason) => {
                self.offered[mechanism].missed += 1;
                self.misses[reason] += 1;
                if let Some(miss) = seen.miss {
                    let key = seen.ticket_key().map(|(key, _)| key);
                    self.last_miss = Some(LastMiss { miss, key });
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
            not_offered: sum(Counted::NotOffered),
        }
    }
}

impl Merge for Offers {
    fn merge(&mut self, other: &Self) {
        self.offered.merge(&other.offered);
        self.misses.merge(&other.misses);
        self.not_offered += other.not_offered;
        self.last_miss = other.last_miss.or(self.last_miss);
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
