//! Histograms of ages and distances.

use super::grid::UNIT;

/// Upper bounds of the buckets of ages, seconds.
pub const AGE_BOUNDS_S: [u32; 12] = [
    1, 10, 60, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 604_800,
];
/// Upper bounds of the buckets of distances, sessions.
pub const DISTANCE_BOUNDS: [u32; 12] = [
    16, 64, 256, 1_024, 4_096, 8_192, 16_384, 32_768, 65_536, 262_144, 1_048_576, 4_194_304,
];
const BUCKETS: usize = AGE_BOUNDS_S.len() + 1;

/// A histogram of offers; the last bucket is unbounded.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    weights: [u64; BUCKETS],
    /// Sum of the values.
    pub sum: f64,
}

impl Spread {
    pub(super) fn add(&mut self, bounds: &[u32; BUCKETS - 1], value: f64, weight: u32) {
        let bucket = bounds.partition_point(|bound| f64::from(*bound) < value);
        self.weights[bucket] += u64::from(weight);
        self.sum += value * f64::from(weight) / f64::from(UNIT);
    }

    /// Offers per bucket, not cumulative.
    #[must_use]
    pub fn counts(&self) -> [u64; BUCKETS] {
        // Rounded from the cumulative sums, so that no bucket ever shrinks.
        let mut sum = 0;
        let mut before = 0;
        self.weights.map(|weight| {
            sum += weight;
            let until = sum / u64::from(UNIT);
            let count = until - before;
            before = until;
            count
        })
    }

    /// Number of offers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.weights.iter().sum::<u64>() / u64::from(UNIT)
    }

    /// The lowest bound that this share of the offers does not exceed; `None` without offers, or
    /// above all bounds.
    #[must_use]
    pub fn quantile(&self, bounds: &[u32; BUCKETS - 1], share: f64) -> Option<u32> {
        let all = self.weights.iter().sum::<u64>() as f64;
        let mut sum = 0;
        bounds.iter().zip(self.weights).find_map(|(bound, weight)| {
            sum += weight;
            (all > 0.0 && sum as f64 >= share * all).then_some(*bound)
        })
    }
}
