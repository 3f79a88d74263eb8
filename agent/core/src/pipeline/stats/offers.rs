//! What became of the sessions that one peer's clients offered, or that clients here offered to one peer.

use super::Window;
use crate::model::{Mechanism, Miss, MissReason as Reason, Observation, OfferOutcome};

/// What the window counts: accepted offers, missed ones by reason, and handshakes without an offer.
const ACCEPTED: usize = 0;
const MISSED: usize = 1;
const NOT_OFFERED: usize = MISSED + Reason::ALL.len();
const THINGS: usize = NOT_OFFERED + 1;
/// Alerts need no finer view, and there is one window for every peer.
const SLOTS: usize = 5;

/// Sums of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    /// By mechanism: accepted, missed.
    pub offered: [[u64; 2]; Mechanism::ALL.len()],
    /// Missed, by reason.
    pub misses: [u64; Reason::ALL.len()],
    /// Completed handshakes without an offer.
    pub not_offered: u64,
    /// The newest miss, and the key of its ticket.
    pub last_miss: Option<(Miss, Option<u32>)>,
    window: Window<THINGS, SLOTS>,
}

/// The recent part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// Accepted.
    pub accepted: u64,
    /// Missed, by reason.
    pub misses: [u64; Reason::ALL.len()],
    /// Without an offer.
    pub not_offered: u64,
}

impl Offers {
    /// Adds a completed handshake.
    pub(super) fn add(&mut self, seen: &Observation, window_ns: u64) {
        let Some(outcome) = seen.offer_outcome() else {
            return;
        };
        let which = match outcome {
            OfferOutcome::Unknown | OfferOutcome::Failed(..) => return,
            OfferOutcome::NotOffered => {
                self.not_offered += 1;
                NOT_OFFERED
            }
            OfferOutcome::Accepted(mechanism) => {
                self.offered[mechanism as usize][0] += 1;
                ACCEPTED
            }
            OfferOutcome::Missed(mechanism, reason) => {
                self.offered[mechanism as usize][1] += 1;
                self.misses[reason as usize] += 1;
                let key = seen.ticket_key().map(|(key, _)| key.get());
                self.last_miss = seen.miss.map(|miss| (miss, key)).or(self.last_miss);
                MISSED + reason as usize
            }
        };
        self.window.add(which, seen.time_ns, window_ns);
    }

    /// The part within the window that ends at `now_ns`.
    #[must_use]
    pub fn recent(&self, now_ns: u64, window_ns: u64) -> Recent {
        let sums = self.window.sums(now_ns, window_ns);
        Recent {
            accepted: sums[ACCEPTED],
            misses: std::array::from_fn(|reason| sums[MISSED + reason]),
            not_offered: sums[NOT_OFFERED],
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let pairs = self.offered.as_flattened_mut().iter_mut();
        for (mine, theirs) in pairs.zip(other.offered.as_flattened()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.misses.iter_mut().zip(other.misses) {
            *mine += theirs;
        }
        self.not_offered += other.not_offered;
        self.last_miss = other.last_miss.or(self.last_miss);
        self.window.merge(&other.window);
    }
}

impl Recent {
    /// Offers missed.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.misses.iter().sum()
    }

    /// The commonest reason.
    #[must_use]
    pub fn commonest(&self) -> Option<Reason> {
        // Of two that are equal, the one that says more.
        let reasons = Reason::ALL.into_iter().rev();
        let commonest = reasons.max_by_key(|reason| self.misses[*reason as usize])?;
        (self.misses[commonest as usize] > 0).then_some(commonest)
    }
}
