//! Formats and classifies an error with all its sources.

use std::{error::Error, fmt::Write as _, io, iter};

use nix::errno::Errno;

/// Errors that pass without any change to the host: interrupted by a signal or the freezer, or
/// short of memory or of a system-wide resource.
const TRANSIENT: [Errno; 6] = [
    Errno::EAGAIN,
    Errno::EINTR,
    Errno::ENOMEM,
    Errno::ENFILE,
    Errno::EBUSY,
    Errno::ETIMEDOUT,
];

/// An error and its sources on one line, separated by colons.
#[must_use]
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for source in sources(error).skip(1) {
        let _ = write!(text, ": {source}");
    }
    text
}

/// Whether the operation may succeed later although nothing on the host is changed.
#[must_use]
pub(crate) fn is_transient(error: &(dyn Error + 'static)) -> bool {
    errno(error).is_some_and(|errno| TRANSIENT.contains(&errno))
}

/// The first error of a system call among an error and its sources.
#[must_use]
pub(crate) fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    sources(error).find_map(|error| {
        let code = error.downcast_ref::<io::Error>()?.raw_os_error()?;
        Some(Errno::from_raw(code))
    })
}

/// An error followed by its sources.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya::{EbpfError, programs::ProgramError, sys::SyscallError};
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("outer")]
    struct Outer(#[source] Box<EbpfError>);

    fn outer(code: i32) -> Outer {
        let io_error = io::Error::from_raw_os_error(code);
        let call = SyscallError {
            call: "bpf",
            io_error,
        };
        let program = ProgramError::SyscallError(call);
        Outer(Box::new(EbpfError::ProgramError(program)))
    }

    #[test]
    fn the_system_call_decides_whether_an_error_is_transient() {
        for (code, expected) in [
            (libc::EAGAIN, true),
            (libc::ENOMEM, true),
            (libc::EPERM, false),
            (libc::EINVAL, false),
            // The limit of this process, which a restart does not raise.
            (libc::EMFILE, false),
        ] {
            let error = outer(code);
            assert_eq!(is_transient(&error), expected, "{}", chain(&error));
        }
        assert!(!is_transient(&io::Error::other("no system call")));
    }
}
