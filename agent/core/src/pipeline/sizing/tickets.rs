//! Tickets: a server stores nothing for them, so only their age and their key matter.

use super::{
    grid::UNIT,
    spread::{AGE_BOUNDS_S, Spread},
};

/// Numbers of keys back that are counted separately; the last count includes all greater ones.
pub(super) const KEYS_BACK: usize = 8;

/// Tickets that clients offered to one service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tickets {
    /// Ages since they were issued, where that was observed.
    pub ages: Spread,
    /// Tickets by the number of keys that the service has begun to use since theirs.
    pub keys_back: [u64; KEYS_BACK],
}

impl Tickets {
    pub(super) fn record(&mut self, age_ns: Option<u64>, keys_back: Option<u64>) {
        if let Some(age_ns) = age_ns {
            self.ages.add(&AGE_BOUNDS_S, age_ns as f64 / 1e9, UNIT);
        }
        if let Some(keys) = keys_back {
            let keys = usize::try_from(keys).unwrap_or(usize::MAX);
            self.keys_back[keys.min(KEYS_BACK - 1)] += 1;
        }
    }

    /// Time for which 95 % of the offered tickets need their key, seconds, up to the next bound of
    /// the histogram.
    #[must_use]
    pub fn needed_s(&self) -> Option<u32> {
        self.ages.quantile(&AGE_BOUNDS_S, 0.95)
    }
}
