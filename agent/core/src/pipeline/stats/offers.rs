//! Offers of one peer: of its clients to servers here, or of clients here to it.

use enum_map::{Enum, EnumMap};

use super::{merge::Merge, outcomes::OfferSums, visitors::Given, window::Window};
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

/// Failed handshakes with and without an offer, from the first failed offer on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedOffers {
    /// Offers whose handshake failed.
    pub failed: u64,
    /// Offers whose handshake completed.
    pub completed: u64,
    /// Failed handshakes that are known to have offered nothing.
    pub failed_without: u64,
    /// Completed handshakes without an offer.
    pub completed_without: u64,
    /// End of the last failed handshake with an offer, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
}

impl FailedOffers {
    /// Failures with an offer from which on the comparison is made.
    const MIN_FAILED: u64 = 5;
    /// Failures without an offer that would be expected at the rate of those with one, and from
    /// which on their absence is no coincidence.
    const MIN_EXPECTED: u64 = 3;
    /// How many times as often handshakes with an offer fail.
    const FACTOR: u64 = 10;

    /// Handshakes with an offer.
    #[must_use]
    pub const fn with(&self) -> u64 {
        self.failed + self.completed
    }

    /// Handshakes without an offer.
    #[must_use]
    pub const fn without(&self) -> u64 {
        self.failed_without + self.completed_without
    }

    /// Whether handshakes fail because a session is offered: those without an offer hardly do.
    #[must_use]
    pub const fn are_cause(&self) -> bool {
        let expected = self.failed.saturating_mul(self.without());
        self.failed >= Self::MIN_FAILED
            && expected >= self.with().saturating_mul(Self::MIN_EXPECTED)
            && expected
                >= self
                    .failed_without
                    .saturating_mul(self.with())
                    .saturating_mul(Self::FACTOR)
    }
}

impl Merge for FailedOffers {
    fn merge(&mut self, other: &Self) {
        self.failed += other.failed;
        self.completed += other.completed;
        self.failed_without += other.failed_without;
        self.completed_without += other.completed_without;
        self.last_ns = self.last_ns.max(other.last_ns);
    }
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
        self.compare(outcome, seen.time_ns);
        let counted = match outcome {
            OfferOutcome::Unknown | OfferOutcome::Failed(..) => return,
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

    /// Adds a failed handshake that is known to have offered nothing.
    pub(super) const fn record_failed_without(&mut self) {
        if self.failed.failed > 0 {
            self.failed.failed_without += 1;
        }
    }

    fn compare(&mut self, outcome: OfferOutcome, time_ns: u64) {
        let counts = &mut self.failed;
        match outcome {
            OfferOutcome::Failed(..) => {
                counts.failed += 1;
                counts.last_ns = time_ns;
            }
            _ if counts.failed == 0 => {}
            OfferOutcome::NotOffered => counts.completed_without += 1,
            OfferOutcome::Accepted(_) | OfferOutcome::Missed(..) => counts.completed += 1,
            OfferOutcome::Unknown => {}
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(failed: u64, completed: u64, failed_without: u64, completed_without: u64) -> bool {
        let offers = FailedOffers {
            failed,
            completed,
            failed_without,
            completed_without,
            last_ns: 0,
        };
        offers.are_cause()
    }

    #[test]
    fn offers_are_the_cause_of_failures_that_handshakes_without_one_do_not_have() {
        assert!(compared(8, 0, 0, 8));
        assert!(!compared(4, 0, 0, 8), "few failures");
        assert!(!compared(8, 0, 0, 2), "few handshakes without an offer");
        assert!(
            !compared(8, 792, 0, 8),
            "none of 8 fails at one in 100, too"
        );
        assert!(!compared(8, 0, 8, 8), "others fail, too");
        assert!(compared(80, 20, 1, 99));
    }
}
