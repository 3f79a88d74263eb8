//! The last hour in slots of ten seconds, for the page that draws it: constant memory, no timers.

use std::collections::VecDeque;

use crate::model::{Outcome, Resumption};

/// Length of a slot, nanoseconds.
pub const SLOT_NS: u64 = 10_000_000_000;
/// Slots kept: an hour.
const SLOTS: usize = 360;

/// Handshakes that ended within one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Completed, by resumption.
    pub completed: [u32; Resumption::ALL.len()],
    /// Failed.
    pub failed: u32,
}

/// See the module. Written by the pipeline, read by the page.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Oldest first; begins with the first handshake.
    slots: VecDeque<Slot>,
    /// Number of the last slot since time zero.
    newest: u64,
}

impl History {
    /// Adds one handshake that ended at `time_ns`; one that is older than all slots is left out.
    pub fn add(&mut self, end: Outcome, time_ns: u64) {
        let slot = time_ns / SLOT_NS;
        self.advance(slot);
        let back = usize::try_from(self.newest - slot).unwrap_or(usize::MAX);
        let Some(index) = self.slots.len().checked_sub(back + 1) else {
            return;
        };
        let slot = &mut self.slots[index];
        match end {
            Outcome::Completed(resumption) => slot.completed[resumption as usize] += 1,
            Outcome::Failed(_) => slot.failed += 1,
        }
    }

    /// The slots up to the one of `now_ns`, oldest first.
    #[must_use]
    pub fn until(&self, now_ns: u64) -> VecDeque<Slot> {
        let mut view = self.clone();
        if !view.slots.is_empty() {
            view.advance(now_ns / SLOT_NS);
        }
        view.slots
    }

    fn advance(&mut self, newest: u64) {
        if self.slots.is_empty() {
            self.slots.push_back(Slot::default());
            self.newest = newest;
        }
        for _ in 0..newest.saturating_sub(self.newest).min(SLOTS as u64) {
            if self.slots.len() == SLOTS {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot::default());
        }
        self.newest = self.newest.max(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureCause;

    const FULL: Outcome = Outcome::Completed(Resumption::Full);

    #[test]
    fn each_ends_in_its_own_slot() {
        let mut history = History::default();
        assert!(history.until(5 * SLOT_NS).is_empty());
        history.add(FULL, 5 * SLOT_NS);
        history.add(Outcome::Completed(Resumption::Resumed), 7 * SLOT_NS);
        history.add(Outcome::Failed(FailureCause::Reset), 6 * SLOT_NS + 1);
        let slots = history.until(8 * SLOT_NS);
        let sums: Vec<_> = slots
            .iter()
            .map(|slot| (slot.completed[0], slot.completed[1], slot.failed))
            .collect();
        assert_eq!(sums, [(1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 0)]);
    }

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for slot in 0..1_000 {
            history.add(FULL, slot * SLOT_NS);
        }
        // Too old for any slot.
        history.add(FULL, 0);
        let slots = history.until(999 * SLOT_NS);
        assert_eq!(slots.len(), SLOTS);
        assert!(slots.iter().all(|slot| slot.completed[0] == 1));
        // Silence of a year costs no more than an hour's.
        let later = history.until(4_000_000 * SLOT_NS);
        assert_eq!(later.len(), SLOTS);
        assert!(later.iter().all(|slot| *slot == Slot::default()));
    }
}
