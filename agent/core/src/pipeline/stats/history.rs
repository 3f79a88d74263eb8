//! The last hour in slots of ten seconds, for the chart of the page: constant memory, no timers.

use std::collections::VecDeque;

use enum_map::EnumMap;

use crate::model::{Outcome, Resumption};

/// Length of a slot, nanoseconds.
pub const SLOT_NS: u64 = 10_000_000_000;
/// Slots retained: an hour.
const SLOTS: usize = 360;

/// Handshakes that ended within one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Completed handshakes.
    pub completed: EnumMap<Resumption, u32>,
    /// Failed handshakes.
    pub failed: u32,
}

/// Handshakes of the last hour, by slot.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Oldest first; the first one holds the first handshake of the hour.
    slots: VecDeque<Slot>,
    /// Number of the newest slot since time zero.
    newest: u64,
}

impl History {
    /// Adds a handshake that ended at `time_ns`; one older than all slots is ignored.
    pub(super) fn add(&mut self, end: Outcome, time_ns: u64) {
        let slot = time_ns / SLOT_NS;
        self.advance(slot);
        let back = usize::try_from(self.newest - slot).unwrap_or(usize::MAX);
        let Some(index) = self.slots.len().checked_sub(back + 1) else {
            return;
        };
        let slot = &mut self.slots[index];
        match end {
            Outcome::Completed(resumption) => slot.completed[resumption] += 1,
            Outcome::Failed(_) => slot.failed += 1,
        }
    }

    /// Slots up to the one at `now_ns`, oldest first.
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
    fn handshakes_count_in_the_slot_of_their_end() {
        let mut history = History::default();
        assert!(history.until(5 * SLOT_NS).is_empty());
        history.add(FULL, 5 * SLOT_NS);
        history.add(Outcome::Completed(Resumption::Resumed), 7 * SLOT_NS);
        history.add(Outcome::Failed(FailureCause::Reset), 6 * SLOT_NS + 1);
        let slots = history.until(8 * SLOT_NS);
        let sums: Vec<_> = slots
            .iter()
            .map(|slot| {
                let full = slot.completed[Resumption::Full];
                (full, slot.completed[Resumption::Resumed], slot.failed)
            })
            .collect();
        assert_eq!(sums, [(1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 0)]);
    }

    #[test]
    fn one_hour_is_retained() {
        let mut history = History::default();
        for slot in 0..1_000 {
            history.add(FULL, slot * SLOT_NS);
        }
        // Older than all slots.
        history.add(FULL, 0);
        let slots = history.until(999 * SLOT_NS);
        assert_eq!(slots.len(), SLOTS);
        assert!(
            slots
                .iter()
                .all(|slot| slot.completed[Resumption::Full] == 1)
        );
        // A year without handshakes costs no more than an hour.
        let later = history.until(4_000_000 * SLOT_NS);
        assert_eq!(later.len(), SLOTS);
        assert!(later.iter().all(|slot| *slot == Slot::default()));
    }
}
