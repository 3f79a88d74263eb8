//! Clients of one service per slot: each is counted once in a slot. Slots that leave the window
//! make up what is usual.

use super::{
    client::{Class, SLOTS},
    pace::Pace,
};

/// Slots over which the usual number of clients is averaged.
const AVERAGED: u32 = 60;
/// Slots without a handshake after which the average is that of these slots alone.
const MAX_EMPTY: u32 = 10 * AVERAGED;

/// Counts of one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slot {
    /// Clients that are not suspicious.
    unsuspicious: u32,
    /// Returning ones of them.
    returning: u32,
    suspects: u32,
    /// Sessions of returning clients that were evicted from a cache.
    evicted: u32,
}

impl Slot {
    fn counts(&mut self, class: Class) -> impl Iterator<Item = &mut u32> {
        let (first, second) = match class {
            Class::Other => (&mut self.unsuspicious, None),
            Class::Returning => (&mut self.unsuspicious, Some(&mut self.returning)),
            Class::Suspect => (&mut self.suspects, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// The slots of the window, and the averages of those before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    slots: [Slot; SLOTS as usize],
    /// Number of the newest slot.
    newest: u32,
    /// Number of the first slot.
    first: u32,
    /// Slots in the averages.
    averaged: u32,
    usual_unsuspicious: f64,
    usual_suspects: f64,
}

impl Slots {
    pub(super) fn new(slot: u32) -> Self {
        Self {
            slots: [Slot::default(); SLOTS as usize],
            newest: slot,
            first: slot,
            averaged: 0,
            usual_unsuspicious: 0.0,
            usual_suspects: 0.0,
        }
    }

    /// Counts a client in a slot; `before` is how it was counted there, if it was.
    pub(super) fn count(&mut self, slot: u32, before: Option<Class>, class: Class, evicted: bool) {
        let Some(counts) = self.at(slot) else { return };
        if let Some(before) = before {
            counts
                .counts(before)
                .for_each(|count| *count = count.saturating_sub(1));
        }
        counts.counts(class).for_each(|count| *count += 1);
        counts.evicted += u32::from(evicted && class == Class::Returning);
    }

    fn at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.advance(slot);
        let is_old = self.newest - slot >= SLOTS;
        (!is_old).then(|| &mut self.slots[(slot % SLOTS) as usize])
    }

    /// Moves the window to this slot.
    pub(super) fn advance(&mut self, slot: u32) {
        let steps = slot.saturating_sub(self.newest);
        for step in 1..=steps.min(SLOTS + MAX_EMPTY) {
            let at = ((self.newest + step) % SLOTS) as usize;
            let left = std::mem::take(&mut self.slots[at]);
            // The ring begins with empty slots before the first one.
            if self.newest + step >= self.first + SLOTS {
                self.average(left);
            }
        }
        self.newest = self.newest.max(slot);
    }

    fn average(&mut self, left: Slot) {
        self.averaged = (self.averaged + 1).min(AVERAGED);
        let weight = 1.0 / f64::from(self.averaged);
        self.usual_unsuspicious +=
            (f64::from(left.unsuspicious) - self.usual_unsuspicious) * weight;
        self.usual_suspects += (f64::from(left.suspects) - self.usual_suspects) * weight;
    }

    /// Whether a whole window has left, so that something is usual.
    pub(super) const fn has_usual(&self) -> bool {
        self.newest >= self.first.saturating_add(2 * SLOTS)
    }

    /// Returning clients at most per slot before `unsettled`, against the usual number of clients.
    pub(super) fn returning(&self, unsettled: u32) -> Pace {
        Pace {
            highest: self.highest(unsettled, |slot| slot.returning),
            usual: self.usual_unsuspicious,
        }
    }

    /// Suspects at most per slot before `unsettled`, against their usual number.
    pub(super) fn suspects(&self, unsettled: u32) -> Pace {
        Pace {
            highest: self.highest(unsettled, |slot| slot.suspects),
            usual: self.usual_suspects,
        }
    }

    fn highest(&self, unsettled: u32, count: impl Fn(&Slot) -> u32) -> u64 {
        let oldest = self.newest.saturating_sub(SLOTS - 1);
        let settled = (oldest..=self.newest).filter(|number| *number < unsettled);
        let slots = settled.map(|number| &self.slots[(number % SLOTS) as usize]);
        slots.map(count).max().unwrap_or(0).into()
    }

    /// Sessions of returning clients that were evicted within the window.
    pub(super) fn evicted(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.evicted)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_counted_once_in_a_slot_and_moved_when_it_turns_out_to_be_suspicious() {
        let mut slots = Slots::new(100);
        slots.count(100, None, Class::Other, false);
        slots.count(100, Some(Class::Other), Class::Suspect, false);
        slots.count(101, None, Class::Returning, true);
        slots.count(101, None, Class::Suspect, true);
        assert_eq!(slots.suspects(u32::MAX).highest, 1);
        assert_eq!((slots.returning(u32::MAX).highest, slots.evicted()), (1, 1));
        let [first, second] = [100, 101].map(|slot| slots.slots[slot % SLOTS as usize]);
        assert_eq!((first.unsuspicious, second.unsuspicious), (0, 1));
    }

    #[test]
    fn slots_that_left_the_window_are_the_usual() {
        let mut slots = Slots::new(1_000);
        for slot in 1_000..1_020 {
            for _ in 0..4 {
                slots.count(slot, None, Class::Other, false);
            }
        }
        assert!(!slots.has_usual());
        slots.advance(1_020);
        assert!(slots.has_usual());
        assert_eq!(
            slots.returning(u32::MAX),
            Pace {
                highest: 0,
                usual: 4.0
            }
        );
        // The newest slots do not count until they leave.
        for _ in 0..50 {
            slots.count(1_020, None, Class::Returning, false);
        }
        assert_eq!(
            slots.returning(u32::MAX),
            Pace {
                highest: 50,
                usual: 4.0
            }
        );
        slots.count(1_005, None, Class::Returning, false);
        assert_eq!(slots.returning(u32::MAX).highest, 50);
        assert_eq!(slots.returning(1_020).highest, 0, "not settled");
        // Years without a handshake cost no more than hours.
        slots.advance(u32::MAX);
        assert_eq!(slots.returning(u32::MAX).highest, 0);
        assert!(slots.returning(u32::MAX).usual < 0.01);
    }
}
