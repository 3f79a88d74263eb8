//! The host's wall clock: whether it is synchronized, and whether it was stepped. Session lifetimes
//! depend on it: sessions expire early or late if it is wrong. Pure; readings arrive as records.

use reprise_ebpf::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`ClockEvent`]; the kernel never sends it.
pub const CLOCK: u32 = 253;
/// Smallest jump of the wall clock against the monotonic one that is not drift, nanoseconds:
/// synchronized clocks are slewed by less than a thousandth (`adjtimex(2)`).
const STEP_NS: u64 = 500_000_000;

/// One reading of the clock.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClockEvent {
    /// Kind, and the time of the reading.
    pub header: Header,
    /// Wall clock minus monotonic clock, nanoseconds.
    pub offset_ns: i64,
    /// 1 if the kernel reports it as synchronized (`STA_UNSYNC` not set), else 0.
    pub synchronized: u32,
    /// Zero.
    pub reserved: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    offset_ns: i64,
    synchronized: bool,
}

/// State of the host's wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    last: Option<Reading>,
    /// Steps observed.
    pub steps: u64,
    /// The last step, nanoseconds, and its time, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_step: Option<(i64, u64)>,
}

impl Clock {
    /// Adds a reading; returns the step that it shows, nanoseconds.
    pub fn record(&mut self, event: &ClockEvent) -> Option<i64> {
        let step = self.last.and_then(|before| {
            let step = event.offset_ns.saturating_sub(before.offset_ns);
            (step.unsigned_abs() >= STEP_NS).then_some(step)
        });
        if let Some(step) = step {
            self.steps += 1;
            self.last_step = Some((step, event.header.time_ns));
        }
        self.last = Some(Reading {
            offset_ns: event.offset_ns,
            synchronized: event.synchronized != 0,
        });
        step
    }

    /// Nanoseconds since 1970 at `monotonic_ns` of `CLOCK_MONOTONIC`; `None` before the first
    /// reading. Only the last step is taken into account.
    #[must_use]
    pub fn wall_ns(&self, monotonic_ns: u64) -> Option<i64> {
        let offset_ns = self.last?.offset_ns;
        let offset_ns = match self.last_step {
            Some((step_ns, at_ns)) if monotonic_ns < at_ns => offset_ns.checked_sub(step_ns)?,
            _ => offset_ns,
        };
        i64::try_from(monotonic_ns).ok()?.checked_add(offset_ns)
    }

    /// Whether it is synchronized; `None` before the first reading.
    #[must_use]
    pub fn synchronized(&self) -> Option<bool> {
        self.last.map(|reading| reading.synchronized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jump_counts_as_step_and_drift_does_not() {
        let at = |time_ns, offset_ns, synchronized| ClockEvent {
            header: Header {
                kind: CLOCK,
                size: size_of::<ClockEvent>() as u32,
                time_ns,
            },
            offset_ns,
            synchronized,
            reserved: 0,
        };
        let mut clock = Clock::default();
        assert_eq!(clock.synchronized(), None);
        clock.record(&at(0, 1_000_000_000_000, 1));
        clock.record(&at(1, 1_000_004_000_000, 1));
        assert_eq!((clock.steps, clock.synchronized()), (0, Some(true)));
        clock.record(&at(2, 8_200_004_000_000, 0));
        assert_eq!(clock.last_step, Some((7_200_000_000_000, 2)));
        let wall_ns = [1, 2].map(|time_ns| clock.wall_ns(time_ns));
        assert_eq!(wall_ns, [Some(1_000_004_000_001), Some(8_200_004_000_002)]);
        clock.record(&at(3, 1_000_004_000_000, 0));
        assert_eq!((clock.steps, clock.synchronized()), (2, Some(false)));
    }
}
