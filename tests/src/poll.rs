//! Polling with a deadline; a failure message contains the last state.

use std::thread;
use std::time::{Duration, Instant};

/// Default deadline: far longer than a loaded two-core machine needs for several tests at a time,
/// so that reaching it is a defect.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Calls `probe` until it returns `Ok`, and panics with the last `Err` once `deadline` has passed.
///
/// # Panics
/// If the deadline passes first.
pub fn poll_until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if start.elapsed() > deadline => {
                panic!("{what}: not within {deadline:?}; last seen: {last}")
            }
            // The pause only saves CPU time; no result depends on its length.
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
