//! The size of the real cache, as offers show it: first in, first out, it holds every session whose
//! distance is below its size and no other.

use super::grid::{SIZES, UNIT};

/// Buckets per octave.
const STEPS: f64 = 16.0;
/// Distances up to 2^22.
const BUCKETS: usize = 22 * 16 + 1;
/// Evicted sessions, and offers at distances beyond, that show a size.
const MIN_EVICTED: u64 = 20;

/// Offers by distance, accepted and evicted.
#[derive(Debug, Clone)]
pub(super) struct Capacity {
    accepted: Box<[u64; BUCKETS]>,
    evicted: Box<[u64; BUCKETS]>,
}

/// What the offers show about the size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CacheSize {
    /// Too few offers.
    Unknown,
    /// None that fits was evicted: the cache holds at least so many.
    AtLeast(f64),
    /// About so many.
    About(f64),
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
        let highest = self.accepted.iter().rposition(|count| *count > 0);
        let all_evicted: u64 = self.evicted.iter().sum();
        if highest.is_none() && all_evicted == 0 {
            return CacheSize::Unknown;
        }
        // Offers that contradict the size at the lower bound of each bucket: accepted ones at and
        // beyond it, evicted ones below.
        let mut wrong: i128 = self.accepted.iter().map(|count| i128::from(*count)).sum();
        let mut best = (wrong, 0);
        let mut beyond = all_evicted;
        let mut beyond_best = beyond;
        for at in 0..BUCKETS {
            wrong += i128::from(self.evicted[at]) - i128::from(self.accepted[at]);
            beyond -= self.evicted[at];
            if wrong < best.0 {
                best = (wrong, at + 1);
                beyond_best = beyond;
            }
        }
        let held = highest.map_or(0.0, |at| lower_bound(at + 1));
        if beyond_best < MIN_EVICTED * u64::from(UNIT) {
            return CacheSize::AtLeast(held.min(f64::from(SIZES[SIZES.len() - 1])));
        }
        // Between the last distance that was accepted and the first one that was evicted.
        let first_evicted = (best.1..BUCKETS).find(|at| self.evicted[*at] > 0);
        let low = lower_bound(best.1);
        let high = first_evicted.map_or(low, lower_bound);
        CacheSize::About((low * high).sqrt())
    }
}
