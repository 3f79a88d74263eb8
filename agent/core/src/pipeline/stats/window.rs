//! Counts over a sliding window, in slots: constant memory, no timers. Each peer has windows, so a
//! count has 16 bits only. When one overflows, all are halved, which preserves their ratios.

/// Counts of `N` kinds of events in a window of `SLOTS` slots, of which the oldest is dropped as a
/// whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window<const N: usize, const SLOTS: usize> {
    slots: [[u16; N]; SLOTS],
    /// Number of the newest slot since time zero.
    newest: u64,
}

impl<const N: usize, const SLOTS: usize> Default for Window<N, SLOTS> {
    fn default() -> Self {
        Self {
            slots: [[0; N]; SLOTS],
            newest: 0,
        }
    }
}

impl<const N: usize, const SLOTS: usize> Window<N, SLOTS> {
    /// Adds an event of the kind with index `kind` at `time_ns`; one older than the window is
    /// ignored.
    pub(super) fn add(&mut self, kind: usize, time_ns: u64, window_ns: u64) {
        let slot = Self::slot_at(time_ns, window_ns);
        self.advance(slot);
        if slot + SLOTS as u64 > self.newest
            && let Some(count) = self.slots[(slot % SLOTS as u64) as usize].get_mut(kind)
        {
            if let Some(sum) = count.checked_add(1) {
                *count = sum;
                return;
            }
            for count in self.slots.as_flattened_mut() {
                *count /= 2;
            }
            self.slots[(slot % SLOTS as u64) as usize][kind] += 1;
        }
    }

    /// Sums of the window that ends at `now_ns`.
    pub(super) fn sums(&self, now_ns: u64, window_ns: u64) -> [u64; N] {
        let mut view = *self;
        view.advance(Self::slot_at(now_ns, window_ns));
        let mut sums = [0; N];
        for slot in view.slots {
            for (sum, count) in sums.iter_mut().zip(slot) {
                *sum += u64::from(count);
            }
        }
        sums
    }

    /// Adds the counts of another window, as of the newer one's end.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut other = *other;
        let newest = self.newest.max(other.newest);
        self.advance(newest);
        other.advance(newest);
        let (counts, addends) = (self.slots.as_flattened_mut(), other.slots.as_flattened());
        let sum = |(count, addend): (&u16, &u16)| u32::from(*count) + u32::from(*addend);
        let highest = counts.iter().zip(addends).map(sum).max().unwrap_or(0);
        let halvings = u32::from(highest > u32::from(u16::MAX));
        for (count, addend) in counts.iter_mut().zip(addends) {
            let halved = sum((count, addend)) >> halvings;
            *count = u16::try_from(halved).unwrap_or(u16::MAX);
        }
    }

    fn advance(&mut self, newest: u64) {
        if newest <= self.newest {
            return;
        }
        let expired = (newest - self.newest).min(SLOTS as u64);
        for slot in (newest + 1 - expired)..=newest {
            self.slots[(slot % SLOTS as u64) as usize] = [0; N];
        }
        self.newest = newest;
    }

    fn slot_at(time_ns: u64, window_ns: u64) -> u64 {
        time_ns / (window_ns / SLOTS as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: u64 = 1_000;

    #[test]
    fn counts_expire_with_their_slot() {
        let mut window = Window::<2, 10>::default();
        window.add(0, 50, WINDOW);
        window.add(1, 950, WINDOW);
        window.add(2, 960, WINDOW);
        assert_eq!(window.sums(999, WINDOW), [1, 1]);
        assert_eq!(window.sums(1_000, WINDOW), [0, 1]);
        assert_eq!(window.sums(2_000, WINDOW), [0, 0]);
    }

    #[test]
    fn late_events_count_while_in_the_window() {
        let mut window = Window::<2, 10>::default();
        window.add(0, 1_500, WINDOW);
        window.add(0, 700, WINDOW);
        window.add(0, 100, WINDOW);
        assert_eq!(window.sums(1_500, WINDOW), [2, 0]);
    }

    #[test]
    fn ratios_remain_when_counts_are_halved() {
        let mut window = Window::<2, 10>::default();
        for number in 0..300_000 {
            window.add(usize::from(number % 3 == 0), 50, WINDOW);
        }
        let is_a_third = |window: &Window<2, 10>| {
            let [most, third] = window.sums(50, WINDOW);
            most > 20_000 && (most / 2).abs_diff(third) < 10
        };
        assert!(is_a_third(&window), "{window:?}");
        let other = window;
        window.merge(&other);
        window.merge(&other);
        assert!(is_a_third(&window), "{window:?}");
    }

    proptest! {
        #[test]
        fn merging_adds_the_counts(
            times in prop::collection::vec((0..5_000_u64, any::<bool>(), any::<bool>()), 0..100),
        ) {
            let mut left = Window::<2, 10>::default();
            let (mut right, mut all) = (left, left);
            let end = times.iter().map(|t| t.0).max().unwrap_or(0);
            let mut times = times;
            times.sort_unstable();
            for (time, resumed, side) in times {
                let kind = usize::from(resumed);
                all.add(kind, time, WINDOW);
                if side { left.add(kind, time, WINDOW) } else { right.add(kind, time, WINDOW) }
            }
            left.merge(&right);
            prop_assert_eq!(left.sums(end, WINDOW), all.sums(end, WINDOW));
        }
    }
}
