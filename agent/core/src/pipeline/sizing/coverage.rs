//! The share of recent offers that the simulation includes: those of sessions that were stored, or
//! first offered, since the analysis began. If clients stay away for longer than the observation
//! lasts, the simulation contains only those that return soon.

/// Minimum length of the first period, nanoseconds.
const MIN_PERIOD_NS: u64 = 10_000_000_000;

/// Offers of a period.
#[derive(Debug, Clone, Copy, Default)]
struct Offers {
    known: u64,
    unknown: u64,
}

/// Offers of known and unknown sessions in the recent past: at least half and at most three
/// quarters of the observation, in two periods of which each lasts as long as all before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Coverage {
    current: Offers,
    previous: Offers,
    /// Time from the begin of the analysis to that of the current period, nanoseconds.
    began_ns: u64,
}

impl Coverage {
    /// Records an offer; `observed_ns` is the time since the analysis began.
    pub(super) fn record(&mut self, observed_ns: u64, is_known: bool) {
        if observed_ns >= (2 * self.began_ns).max(MIN_PERIOD_NS) {
            self.previous = std::mem::take(&mut self.current);
            self.began_ns = observed_ns;
        }
        if is_known {
            self.current.known += 1;
        } else {
            self.current.unknown += 1;
        }
    }

    /// Share of the offers whose session was not known; `None` without offers.
    pub(super) fn unknown_share(&self) -> Option<f64> {
        let unknown = self.current.unknown + self.previous.unknown;
        let all = unknown + self.current.known + self.previous.known;
        (all > 0).then(|| unknown as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn offers_of_the_first_half_do_not_count() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.unknown_share(), None);
        for second in 0..100 {
            coverage.record(second * SECOND, second >= 15);
        }
        assert_eq!(coverage.unknown_share(), Some(0.0));
    }

    #[test]
    fn recent_offers_of_unknown_sessions_count() {
        let mut coverage = Coverage::default();
        for second in 0..100 {
            coverage.record(second * SECOND, second % 4 > 0);
        }
        let share = coverage.unknown_share().unwrap();
        assert!((0.24..0.26).contains(&share), "{share}");
    }
}
