//! Reads the host's clocks for `clock`.

use std::mem::MaybeUninit;

use nix::time::{ClockId, clock_gettime};
use reprise_ebpf::Header;

use reprise_core::pipeline::clock::{CLOCK, ClockEvent};

/// What the clocks say now; `None` where they cannot be read.
#[must_use]
pub fn read() -> Option<ClockEvent> {
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

fn nanoseconds(clock: ClockId) -> Option<i64> {
    let time = clock_gettime(clock).ok()?;
    time.tv_sec()
        .checked_mul(1_000_000_000)?
        .checked_add(time.tv_nsec())
}

/// Whether somebody disciplines the clock (`adjtimex(2)`: `STA_UNSYNC`).
fn synchronized() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeroes is a valid `timex`; with `modes` 0 the call only writes to it.
    let state = unsafe { (libc::adjtimex(state.as_mut_ptr()) >= 0).then(|| state.assume_init()) };
    Some(state?.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_leads_from_one_clock_to_the_other() {
        let event = read().expect("clocks are there");
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos() as i64;
        let by_offset = event.header.time_ns as i64 + event.offset_ns;
        assert!((wall - by_offset).abs() < 1_000_000_000);
    }
}
