//! The size of the real cache, as offers show it: first in, first out, it holds every session whose
//! distance is below its size and no other.

use super::grid::{SIZES, UNIT};

/// Buckets per octave.
const STEPS: f64 = 16.0;
/// Distances up to 2^22.
const BUCKETS: usize = 22 * 16 + 1;
/// Minimum number of accepted sessions within a size, and of evicted ones beyond it, that show the
/// size.
const MIN_OFFERS: u64 = 20;
/// Maximum ratio of the two distances that enclose the size.
const MAX_GAP: f64 = 2.0;
/// Share of the offers that may contradict a size: Apache's cache consists of parts that are not
/// equally full.
const MAX_CONTRADICTION: f64 = 0.1;

/// Offers by distance, accepted and evicted.
#[derive(Debug, Clone)]
pub(super) struct Capacity {
    accepted: Box<[u64; BUCKETS]>,
    evicted: Box<[u64; BUCKETS]>,
}

/// What the offers show about the size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CacheSize {
    /// Too few offers at distances near the size.
    Unknown,
    /// No session within this distance was evicted: the cache holds at least this number.
    AtLeast(f64),
    /// Estimated size.
    About(f64),
}

/// The size at the lower bound of a bucket.
#[derive(Debug, Clone, Copy)]
struct Fit {
    bucket: usize,
    /// Offers that contradict it: accepted ones at and beyond it, evicted ones below.
    wrong: i128,
}

fn bucket(distance: u64) -> usize {
    let octaves = (distance.max(1) as f64).log2();
    ((octaves * STEPS) as usize).min(BUCKETS - 1)
}

fn lower_bound(bucket: usize) -> f64 {
    (bucket as f64 / STEPS).exp2()
}

impl Capacity {
    pub(super) fn new() -> Self {
        Self {
            accepted: Box::new([0; BUCKETS]),
            evicted: Box::new([0; BUCKETS]),
        }
    }

    pub(super) fn accept(&mut self, distance: u64, weight: u32) {
        self.accepted[bucket(distance)] += u64::from(weight);
    }

    pub(super) fn evict(&mut self, distance: u64, weight: u32) {
        self.evicted[bucket(distance)] += u64::from(weight);
    }

    pub(super) fn halve(&mut self) {
        for count in self.accepted.iter_mut().chain(self.evicted.iter_mut()) {
            *count /= 2;
        }
    }

    /// The size that contradicts the fewest offers.
    pub(super) fn size(&self) -> CacheSize {
        let Some(highest) = self.accepted.iter().rposition(|count| *count > 0) else {
            return CacheSize::Unknown;
        };
        if self.is_contradictory() {
            return CacheSize::Unknown;
        }
        let fit = self.fit();
        let (within, beyond) = (&self.accepted[..fit.bucket], &self.evicted[fit.bucket..]);
        let is_too_few = |counts: &[u64]| counts.iter().sum::<u64>() < MIN_OFFERS * u64::from(UNIT);
        if is_too_few(beyond) {
            let held = lower_bound(highest + 1);
            return CacheSize::AtLeast(held.min(f64::from(SIZES[SIZES.len() - 1])));
        }
        // Between the last distance that was accepted and the first one that was evicted.
        let first_evicted = (fit.bucket..BUCKETS).find(|at| self.evicted[*at] > 0);
        let low = lower_bound(fit.bucket);
        let high = first_evicted.map_or(low, lower_bound);
        if is_too_few(within) || high > MAX_GAP * low {
            return CacheSize::Unknown;
        }
        CacheSize::About((low * high).sqrt())
    }

    /// Whether sessions were resumed.
    pub(super) fn has_accepted(&self) -> bool {
        self.accepted.iter().sum::<u64>() >= MIN_OFFERS * u64::from(UNIT)
    }

    /// Whether too many offers contradict every size: they were not made to one cache that evicts
    /// its oldest session first.
    pub(super) fn is_contradictory(&self) -> bool {
        self.fit().wrong as f64 > MAX_CONTRADICTION * self.offers() as f64
    }

    fn offers(&self) -> u64 {
        self.accepted.iter().chain(self.evicted.iter()).sum()
    }

    fn fit(&self) -> Fit {
        let mut wrong: i128 = self.accepted.iter().map(|count| i128::from(*count)).sum();
        let mut best = Fit { bucket: 0, wrong };
        for at in 0..BUCKETS {
            wrong += i128::from(self.evicted[at]) - i128::from(self.accepted[at]);
            if wrong < best.wrong {
                best = Fit {
                    bucket: at + 1,
                    wrong,
                };
            }
        }
        best
    }
}
