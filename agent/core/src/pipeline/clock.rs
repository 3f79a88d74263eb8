//! The host's wall clock: whether it is disciplined, and whether it was stepped. Sessions live by it, so one that is off makes them
//! die early or late. Pure; what the kernel says of its clock comes as events.

use reprise_ebpf::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`ClockEvent`]; the kernel never sends it.
pub const CLOCK: u32 = 253;
/// A jump of the wall clock against the monotonic one that is no drift, nanoseconds: disciplined clocks are slewed by less than
/// a thousandth (`adjtimex(2)`).
const STEP_NS: u64 = 500_000_000;

/// What the clock said.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClockEvent {
    /// When, by the monotonic clock.
    pub header: Header,
    /// Wall clock minus monotonic clock, nanoseconds.
    pub offset_ns: i64,
    /// 1 where the kernel says that somebody disciplines it (`STA_UNSYNC` not set), else 0.
    pub synchronized: u32,
    /// Zero.
    pub reserved: u32,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    last: Option<(i64, bool)>,
    /// Steps seen.
    pub steps: u64,
    /// The last step, nanoseconds, and when, by the monotonic clock.
    pub last_step: Option<(i64, u64)>,
}

impl Clock {
    /// Takes what the clock said.
    pub fn record(&mut self, event: &ClockEvent) {
        if let Some((before_ns, _)) = self.last {
            let step = event.offset_ns.saturating_sub(before_ns);
            if step.unsigned_abs() >= STEP_NS {
                self.steps += 1;
                self.last_step = Some((step, event.header.time_ns));
            }
        }
        self.last = Some((event.offset_ns, event.synchronized != 0));
    }

    /// Whether it is disciplined; `None` before it was read.
    #[must_use]
    pub fn synchronized(&self) -> Option<bool> {
        self.last.map(|(_, synchronized)| synchronized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_a_step_and_drift_is_not() {
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
        clock.record(&at(3, 1_000_004_000_000, 0));
        assert_eq!((clock.steps, clock.synchronized()), (2, Some(false)));
    }
}
