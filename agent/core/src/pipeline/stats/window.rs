//! Counts of a few things over a sliding window, in slots: constant memory, no timers.

/// Counts of `N` things in a window that is cut into `SLOTS`, of which the oldest leaves as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<const N: usize, const SLOTS: usize> {
    slots: [[u32; N]; SLOTS],
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
    /// Counts thing `which` at `time_ns`; one older than the window is ignored.
    pub fn add(&mut self, which: usize, time_ns: u64, window_ns: u64) {
        let slot = Self::slot_of(time_ns, window_ns);
        self.advance(slot);
        if slot + SLOTS as u64 > self.newest
            && let Some(count) = self.slots[(slot % SLOTS as u64) as usize].get_mut(which)
        {
            *count = count.saturating_add(1);
        }
    }

    /// Sums of the window that ends at `now_ns`.
    #[must_use]
    pub fn sums(&self, now_ns: u64, window_ns: u64) -> [u64; N] {
        let mut view = *self;
        view.advance(Self::slot_of(now_ns, window_ns));
        let mut sums = [0; N];
        for slot in view.slots {
            for (sum, count) in sums.iter_mut().zip(slot) {
                *sum += u64::from(count);
            }
        }
        sums
    }

    /// Adds another window's counts, as of the newer of both.
    pub fn merge(&mut self, other: &Self) {
        let mut other = *other;
        let newest = self.newest.max(other.newest);
        self.advance(newest);
        other.advance(newest);
        for (mine, theirs) in self.slots.iter_mut().zip(other.slots) {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine = mine.saturating_add(theirs);
            }
        }
    }

    fn advance(&mut self, newest: u64) {
        if newest <= self.newest {
            return;
        }
        let passed = (newest - self.newest).min(SLOTS as u64);
        for slot in (newest + 1 - passed)..=newest {
            self.slots[(slot % SLOTS as u64) as usize] = [0; N];
        }
        self.newest = newest;
    }

    fn slot_of(time_ns: u64, window_ns: u64) -> u64 {
        time_ns / (window_ns / SLOTS as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: u64 = 1_000;

    #[test]
    fn counts_leave_with_their_slot() {
        let mut window = Window::<2, 10>::default();
        window.add(0, 50, WINDOW);
        window.add(1, 950, WINDOW);
        window.add(2, 960, WINDOW);
        assert_eq!(window.sums(999, WINDOW), [1, 1]);
        assert_eq!(window.sums(1_000, WINDOW), [0, 1]);
        assert_eq!(window.sums(2_000, WINDOW), [0, 0]);
    }

    #[test]
    fn late_ones_count_while_in_the_window() {
        let mut window = Window::<2, 10>::default();
        window.add(0, 1_500, WINDOW);
        window.add(0, 700, WINDOW);
        window.add(0, 100, WINDOW);
        assert_eq!(window.sums(1_500, WINDOW), [2, 0]);
    }

    proptest! {
        #[test]
        fn merging_is_adding(times in prop::collection::vec((0..5_000_u64, any::<bool>(), any::<bool>()), 0..100)) {
            let (mut left, mut right, mut all) = (Window::<2, 10>::default(), Window::<2, 10>::default(), Window::<2, 10>::default());
            let end = times.iter().map(|t| t.0).max().unwrap_or(0);
            let mut times = times;
            times.sort_unstable();
            for (time, resumed, side) in times {
                let which = usize::from(resumed);
                all.add(which, time, WINDOW);
                if side { left.add(which, time, WINDOW) } else { right.add(which, time, WINDOW) }
            }
            left.merge(&right);
            prop_assert_eq!(left.sums(end, WINDOW), all.sums(end, WINDOW));
        }
    }
}
