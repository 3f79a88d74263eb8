//! Full and resumed handshakes over a sliding window, in [`SLOTS`] slots: constant memory, no timers.

use crate::correlate::Resumption;

/// Slots a window is cut into; the oldest one leaves as a whole.
const SLOTS: usize = 10;

/// Counts per slot of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    slots: [[u32; 2]; SLOTS],
    /// Number of the newest slot since time zero.
    newest: u64,
}

impl Window {
    /// Adds one completed handshake that ended at `time_ns`; one older than the window is ignored, and one whose resumption is
    /// not known.
    pub fn add(&mut self, resumption: Resumption, time_ns: u64, window_ns: u64) {
        if resumption == Resumption::Unknown {
            return;
        }
        let slot = slot_of(time_ns, window_ns);
        self.advance(slot);
        if slot + SLOTS as u64 > self.newest {
            let count = &mut self.slots[(slot % SLOTS as u64) as usize][resumption as usize];
            *count = count.saturating_add(1);
        }
    }

    /// Full and resumed handshakes in the window that ends at `now_ns`.
    #[must_use]
    pub fn sums(&self, now_ns: u64, window_ns: u64) -> [u64; 2] {
        let mut view = *self;
        view.advance(slot_of(now_ns, window_ns));
        view.slots.iter().fold([0, 0], |[full, resumed], slot| {
            [full + u64::from(slot[0]), resumed + u64::from(slot[1])]
        })
    }

    /// Resumed ÷ completed in the window that ends at `now_ns`; `None` with no completed handshake in it.
    #[must_use]
    pub fn ratio(&self, now_ns: u64, window_ns: u64) -> Option<f64> {
        let [full, resumed] = self.sums(now_ns, window_ns);
        (full + resumed > 0).then(|| resumed as f64 / (full + resumed) as f64)
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
            self.slots[(slot % SLOTS as u64) as usize] = [0, 0];
        }
        self.newest = newest;
    }
}

fn slot_of(time_ns: u64, window_ns: u64) -> u64 {
    time_ns / (window_ns / SLOTS as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: u64 = 1_000;

    #[test]
    fn counts_leave_with_their_slot() {
        let mut window = Window::default();
        window.add(Resumption::Full, 50, WINDOW);
        window.add(Resumption::Resumed, 950, WINDOW);
        window.add(Resumption::Unknown, 960, WINDOW);
        assert_eq!(window.ratio(999, WINDOW), Some(0.5));
        assert_eq!(window.ratio(1_000, WINDOW), Some(1.0));
        assert_eq!(window.ratio(2_000, WINDOW), None);
    }

    #[test]
    fn late_ones_count_while_in_the_window() {
        let mut window = Window::default();
        window.add(Resumption::Full, 1_500, WINDOW);
        window.add(Resumption::Full, 700, WINDOW);
        window.add(Resumption::Full, 100, WINDOW);
        assert_eq!(window.sums(1_500, WINDOW), [2, 0]);
    }

    proptest! {
        #[test]
        fn merging_is_adding(times in prop::collection::vec((0..5_000_u64, any::<bool>(), any::<bool>()), 0..100)) {
            let (mut left, mut right, mut all) = (Window::default(), Window::default(), Window::default());
            let end = times.iter().map(|t| t.0).max().unwrap_or(0);
            let mut times = times;
            times.sort_unstable();
            for (time, resumed, side) in times {
                let resumption = if resumed { Resumption::Resumed } else { Resumption::Full };
                all.add(resumption, time, WINDOW);
                if side { left.add(resumption, time, WINDOW) } else { right.add(resumption, time, WINDOW) }
            }
            left.merge(&right);
            prop_assert_eq!(left.sums(end, WINDOW), all.sums(end, WINDOW));
        }
    }
}
