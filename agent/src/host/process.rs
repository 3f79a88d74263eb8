//! Properties of the processes that events name.

use std::{fs, io};

use super::capability::{Namespace, NamespaceMembership};

/// The processes of the host's PID namespace, by the process IDs that events carry. In another
/// namespace the agent cannot read them: there the same number is another process or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostProcesses {
    readable: bool,
}

impl HostProcesses {
    /// Determines whether the agent can read the host's processes.
    #[must_use]
    pub(crate) fn detect() -> Self {
        Self {
            readable: Namespace::Pid.membership() != NamespaceMembership::Other,
        }
    }

    /// Contents of a file in the directory of a process below `/proc`.
    pub(crate) fn read(self, tgid: u32, file: &str) -> io::Result<String> {
        if !self.readable {
            return Err(io::ErrorKind::Unsupported.into());
        }
        fs::read_to_string(format!("/proc/{tgid}/{file}"))
    }

    /// Whether a process may still run: false only on evidence that it has ended.
    #[must_use]
    pub(crate) fn may_run(self, tgid: u32) -> bool {
        // A zombie still has this file, although its memory and sockets are gone. The state is the
        // first letter after the name, which is in parentheses.
        let stat = match self.read(tgid, "stat") {
            Ok(stat) => stat,
            // ESRCH: the process ended while the file was open.
            Err(error) => {
                return error.kind() != io::ErrorKind::NotFound
                    && error.raw_os_error() != Some(libc::ESRCH);
            }
        };
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim_start().chars().next());
        !matches!(state, Some('Z' | 'X'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has this number (`PID_MAX_LIMIT`, include/linux/threads.h).
    const NO_PROCESS: u32 = 1 << 23;

    #[test]
    fn a_process_that_is_not_in_proc_has_ended() {
        let host = HostProcesses { readable: true };
        assert!(host.may_run(std::process::id()));
        assert!(!host.may_run(NO_PROCESS));
    }

    #[test]
    fn processes_of_another_namespace_are_not_known_to_have_ended() {
        let host = HostProcesses { readable: false };
        assert!(host.may_run(NO_PROCESS));
        assert!(host.read(std::process::id(), "comm").is_err());
    }
}
