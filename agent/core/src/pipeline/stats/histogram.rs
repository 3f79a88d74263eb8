//! A histogram of durations with fixed buckets.

/// Upper bounds of the buckets, seconds: from a resumed handshake on loopback to a handshake with
/// several retransmission timeouts.
pub const BOUNDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Durations per bucket; the last bucket is unbounded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Histogram {
    /// Durations per bucket, not cumulative.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Sum of the durations, nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Adds a duration, nanoseconds.
    pub fn observe(&mut self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut histogram = Histogram::default();
        for ns in [0, 500_000, 500_001, 31_000_000_000] {
            histogram.observe(ns);
        }
        assert_eq!(histogram.counts[0], 2);
        assert_eq!(histogram.counts[1], 1);
        assert_eq!(histogram.counts[BOUNDS.len()], 1);
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.sum_ns, 31_001_000_001);
    }
}
