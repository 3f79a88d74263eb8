//! Repeats program loads that a signal interrupted: the verifier stops with `EAGAIN` when a signal
//! or the freezer waits for the thread (`do_check`, kernel/bpf/verifier.c).

use std::error::Error;

use nix::errno::Errno;

use crate::errors::errno;

/// Maximum number of attempts, as in libbpf (`PROG_LOAD_ATTEMPTS`, tools/lib/bpf/bpf.c).
const ATTEMPTS: usize = 5;

/// Calls `load` again while it fails with `EAGAIN`, at most [`ATTEMPTS`] times in total.
///
/// # Errors
///
/// The error of the last attempt.
pub(super) fn retry_interrupted<T, E: Error + 'static>(
    mut load: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    for _ in 1..ATTEMPTS {
        match load() {
            Err(error) if errno(&error) == Some(Errno::EAGAIN) => {
                tracing::debug!("program load interrupted, trying again");
            }
            result => return result,
        }
    }
    load()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Result and number of attempts of a load that fails so often, with this error.
    fn attempts(failures: usize, code: i32) -> (bool, usize) {
        let mut count = 0;
        let loaded = retry_interrupted(|| {
            count += 1;
            if count > failures {
                return Ok(());
            }
            Err(io::Error::from_raw_os_error(code))
        });
        (loaded.is_ok(), count)
    }

    #[test]
    fn only_interrupted_loads_are_repeated_and_not_for_ever() {
        assert_eq!(attempts(0, libc::EAGAIN), (true, 1));
        assert_eq!(attempts(4, libc::EAGAIN), (true, 5));
        assert_eq!(attempts(5, libc::EAGAIN), (false, 5));
        assert_eq!(attempts(1, libc::EINVAL), (false, 1));
    }
}
