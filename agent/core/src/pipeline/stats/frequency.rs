//! Approximate counts of recent uses by key (a count-min sketch, halved at intervals): how the
//! frequent keys of a stream are known in constant memory. Deterministic: the hash has no random
//! state, and time is the number of uses.

use std::hash::{DefaultHasher, Hash, Hasher as _};

/// Counters per key of the table that the sketch serves.
const COUNTERS_PER_KEY: usize = 4;
/// Rows of counters; a key has one in each.
const ROWS: usize = 4;
/// Highest count.
const MAX: u8 = 15;
/// Uses per key of the table after which all counts are halved.
const SAMPLE_PER_KEY: u64 = 10;

/// The sketch.
#[derive(Debug)]
pub(super) struct Frequency {
    rows: [Vec<u8>; ROWS],
    mask: usize,
    uses: u64,
    sample: u64,
}

impl Frequency {
    /// A sketch for a table of so many keys.
    pub(super) fn new(capacity: usize) -> Self {
        let width = (capacity.max(16) * COUNTERS_PER_KEY).next_power_of_two();
        Self {
            rows: std::array::from_fn(|_| vec![0; width]),
            mask: width - 1,
            uses: 0,
            sample: SAMPLE_PER_KEY * capacity.max(16) as u64,
        }
    }

    /// Counts a use of this key.
    pub(super) fn count(&mut self, key: &impl Hash) {
        let at = self.positions(key);
        for (row, at) in self.rows.iter_mut().zip(at) {
            row[at] = row[at].saturating_add(1).min(MAX);
        }
        self.uses += 1;
        if self.uses >= self.sample {
            self.uses /= 2;
            let counts = self.rows.iter_mut().flatten();
            counts.for_each(|count| *count /= 2);
        }
    }

    /// Uses of this key; too high where other keys share all its counters.
    pub(super) fn estimate(&self, key: &impl Hash) -> u8 {
        let at = self.positions(key);
        let counts = self.rows.iter().zip(at).map(|(row, at)| row[at]);
        counts.min().unwrap_or(0)
    }

    fn positions(&self, key: &impl Hash) -> [usize; ROWS] {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        // Double hashing.
        let (first, second) = (hash as u32 as usize, (hash >> 32) as usize | 1);
        std::array::from_fn(|row| first.wrapping_add(row.wrapping_mul(second)) & self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_keys_have_higher_counts_and_old_uses_are_forgotten() {
        let mut frequency = Frequency::new(100);
        for round in 0..5_u32 {
            for key in 0..100_u32 {
                frequency.count(&key);
            }
            frequency.count(&(1_000 + round));
        }
        assert!((0..100_u32).all(|key| frequency.estimate(&key) >= 5));
        let rare = (1_000..1_005_u32).filter(|key| frequency.estimate(key) <= 2);
        assert!(rare.count() >= 4);
        for key in 0..5_000_u32 {
            frequency.count(&(10_000 + key));
        }
        let forgotten = (0..100_u32).filter(|key| frequency.estimate(key) < 10);
        assert_eq!(forgotten.count(), 100);
    }
}
