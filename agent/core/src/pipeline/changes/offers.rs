//! Offers of one service, or of the host, in slots of time, and the last ones with their times.

use std::{collections::VecDeque, ops::Range};

/// Time before and after a change whose offers are compared, nanoseconds.
pub(super) const COMPARED_NS: u64 = 600_000_000_000;
/// Length of a slot, nanoseconds.
const SLOT_NS: u64 = 10_000_000_000;
/// Slots retained.
const SLOTS: usize = (COMPARED_NS / SLOT_NS) as usize + 1;

/// Maximum number of offers retained with their exact times: a change is detected some handshakes
/// after it took effect.
const EXACT: usize = 64;

/// Offers that were accepted and missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Accepted offers.
    pub accepted: u64,
    /// Missed offers.
    pub missed: u64,
}

impl Hits {
    /// Adds an offer.
    pub(super) const fn add(&mut self, accepted: bool) {
        if accepted {
            self.accepted += 1;
        } else {
            self.missed += 1;
        }
    }

    /// Share of the offers that were accepted; `None` without offers.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let all = self.accepted + self.missed;
        (all > 0).then(|| self.accepted as f64 / all as f64)
    }
}

/// The most recent offers.
#[derive(Debug, Clone, Default)]
pub(super) struct RecentOffers {
    /// Number of each slot since time zero, and its offers; oldest first.
    slots: VecDeque<(u64, Hits)>,
    /// The last offers, which are in no slot yet, with their times.
    last: VecDeque<(u64, bool)>,
}

impl RecentOffers {
    /// Adds an offer.
    pub(super) fn add(&mut self, time_ns: u64, accepted: bool) {
        if self.last.len() >= EXACT
            && let Some((time_ns, accepted)) = self.last.pop_front()
        {
            self.add_to_slot(time_ns, accepted);
        }
        self.last.push_back((time_ns, accepted));
    }

    fn add_to_slot(&mut self, time_ns: u64, accepted: bool) {
        let slot = time_ns / SLOT_NS;
        let at = self.slots.partition_point(|(number, _)| *number < slot);
        if self.slots.get(at).is_none_or(|(number, _)| *number != slot) {
            self.slots.insert(at, (slot, Hits::default()));
        }
        self.slots[at].1.add(accepted);
        if self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
    }

    /// Offers within this time; an offer in a slot has the time at which the slot begins.
    pub(super) fn within(&self, time_ns: Range<u64>) -> Hits {
        let slots = self.slots.iter();
        let slots = slots.filter(|(slot, _)| time_ns.contains(&slot.saturating_mul(SLOT_NS)));
        let mut sum = slots.fold(Hits::default(), |sum, (_, hits)| Hits {
            accepted: sum.accepted + hits.accepted,
            missed: sum.missed + hits.missed,
        });
        for (_, accepted) in self
            .last
            .iter()
            .filter(|(at_ns, _)| time_ns.contains(at_ns))
        {
            sum.add(*accepted);
        }
        sum
    }
}
