//! Failure of a command.

use std::{fmt, io, process::ExitCode};

use super::observer::ObserveError;
use crate::{errors, host::MissingRequirement};

/// Failure of a command, by exit status.
#[derive(Debug)]
pub enum Failure {
    /// Exit status 1: the command failed at run time.
    Runtime(String),
    /// Exit status 2: the command line, or a file that it names, is invalid.
    Usage(String),
    /// Exit status 77: this host does not meet a requirement.
    Host(String),
}

impl Failure {
    /// Exit status of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Host(_) => 77,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Runtime(message) | Self::Usage(message) | Self::Host(message)) = self;
        f.write_str(message)
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Missing(missing) => missing.into(),
            ObserveError::Sensor(_) | ObserveError::Thread(_) | ObserveError::Record(_) => {
                Self::Runtime(errors::chain(&error))
            }
        }
    }
}

impl From<MissingRequirement> for Failure {
    /// A failure that may pass by itself must not have status 77, after which no service manager
    /// restarts the agent.
    fn from(missing: MissingRequirement) -> Self {
        if errors::is_transient(&missing) {
            return Self::Runtime(errors::chain(&missing));
        }
        Self::Host(missing.with_remedy())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Runtime(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tracefs_mount::TracefsError;

    #[test]
    fn what_may_pass_has_another_status() {
        let failure = |code| {
            let error = TracefsError::Mount(io::Error::from_raw_os_error(code));
            Failure::from(MissingRequirement::Tracefs(error))
        };
        assert!(matches!(failure(libc::ENOMEM), Failure::Runtime(_)));
        assert!(matches!(failure(libc::EPERM), Failure::Host(_)));
        let lockdown = MissingRequirement::Tracefs(TracefsError::Lockdown);
        assert!(matches!(Failure::from(lockdown), Failure::Host(_)));
    }
}
