//! Reads the host's clocks for clock events.

use std::{mem::MaybeUninit, time::Duration};

use nix::time::{ClockId, clock_gettime};
use reprise_ebpf::Header;

use reprise_core::pipeline::clock::{CLOCK, ClockEvent};

/// The difference between the host's clocks now; `None` if they cannot be read.
#[must_use]
pub(crate) fn read() -> Option<ClockEvent> {
    let before = nanoseconds(ClockId::CLOCK_MONOTONIC)?;
    let wall = nanoseconds(ClockId::CLOCK_REALTIME)?;
    let after = nanoseconds(ClockId::CLOCK_MONOTONIC)?;
    let monotonic = before + (after - before) / 2;
    Some(ClockEvent {
        header: Header {
            kind: CLOCK,
            size: size_of::<ClockEvent>() as u32,
            time_ns: monotonic.try_into().ok()?,
        },
        offset_ns: wall - monotonic,
        synchronized: u32::from(synchronized()?),
        reserved: 0,
    })
}

/// CPU time of this thread; `None` if it cannot be read.
#[must_use]
pub(crate) fn thread_cpu_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
    Some(time.into())
}

/// Time for which the host was suspended since it booted, nanoseconds: the monotonic clock stops
/// meanwhile.
#[must_use]
pub(crate) fn suspended_ns() -> u64 {
    let boot = nanoseconds(ClockId::CLOCK_BOOTTIME).zip(nanoseconds(ClockId::CLOCK_MONOTONIC));
    let suspended = boot.and_then(|(boot, monotonic)| boot.checked_sub(monotonic));
    suspended
        .and_then(|suspended| suspended.try_into().ok())
        .unwrap_or(0)
}

fn nanoseconds(clock: ClockId) -> Option<i64> {
    let time = clock_gettime(clock).ok()?;
    time.tv_sec()
        .checked_mul(1_000_000_000)?
        .checked_add(time.tv_nsec())
}

/// Whether the clock is synchronised (`adjtimex(2)`, `STA_UNSYNC` not set).
fn synchronized() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a zeroed `timex` is valid; with `modes` 0 the call only writes to it.
    let state = unsafe { (libc::adjtimex(state.as_mut_ptr()) >= 0).then(|| state.assume_init()) };
    Some(state?.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_plus_offset_is_wall_time() {
        let event = read().expect("the clocks are readable");
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos() as i64;
        let by_offset = event.header.time_ns as i64 + event.offset_ns;
        assert!((wall - by_offset).abs() < 1_000_000_000);
    }
}
