//! Properties of the processes that events name.

use std::{fs, io};

use super::{
    capability::{Namespace, NamespaceMembership},
    clock::suspended_ns,
};

/// Duration of a clock tick in `/proc`, nanoseconds (`USER_HZ`, include/asm-generic/param.h).
const TICK_NS: u64 = 10_000_000;

/// When a process was started, in clock ticks since the host booted. With the process ID it
/// identifies a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStart(u64);

impl ProcessStart {
    #[cfg(test)]
    pub(crate) const fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`, rounded up to the next tick.
    #[must_use]
    pub(crate) fn time_ns(self) -> u64 {
        let ticks = self.0.saturating_add(1);
        ticks.saturating_mul(TICK_NS).saturating_sub(suspended_ns())
    }
}

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

    /// Contents of a file in the directory of a process below `/proc`. Names in it can be any
    /// bytes; those that are not UTF-8 are replaced.
    pub(crate) fn read(self, tgid: u32, file: &str) -> io::Result<String> {
        if !self.readable {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let bytes = fs::read(format!("/proc/{tgid}/{file}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Path of the executable of a process, as the process sees it.
    pub(crate) fn executable(self, tgid: u32) -> io::Result<String> {
        if !self.readable {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let path = fs::read_link(format!("/proc/{tgid}/exe"))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Whether a process may still run: false only on evidence that it has ended.
    #[must_use]
    pub(crate) fn may_run(self, tgid: u32) -> bool {
        let stat = match self.read(tgid, "stat") {
            Ok(stat) => stat,
            // ESRCH: the process ended while the file was open.
            Err(error) => {
                return error.kind() != io::ErrorKind::NotFound
                    && error.raw_os_error() != Some(libc::ESRCH);
            }
        };
        runs(&stat)
    }

    /// Whether the agent can read the host's processes.
    #[must_use]
    pub(crate) const fn are_readable(self) -> bool {
        self.readable
    }

    /// When a process that runs was started.
    #[must_use]
    pub(crate) fn start(self, tgid: u32) -> Option<ProcessStart> {
        let stat = self.read(tgid, "stat").ok().filter(|stat| runs(stat))?;
        // Field 22; the one after the name is field 3.
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        fields.nth(19)?.parse().ok().map(ProcessStart)
    }
}

/// Whether a process runs, by its `stat` file. A zombie still has this file, although its memory
/// and sockets are gone; but the first thread is one too where it has ended before others. The
/// fields after the name, which is in parentheses, begin with the state; the eighteenth is the
/// number of threads.
fn runs(stat: &str) -> bool {
    let mut fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let is_zombie = matches!(fields.next(), Some("Z" | "X"));
    let threads: u32 = fields
        .nth(16)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0);
    !is_zombie || threads > 1
}

/// IDs of all processes.
pub(crate) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// No process has this number (`PID_MAX_LIMIT`, include/linux/threads.h).
    const NO_PROCESS: u32 = 1 << 23;

    #[test]
    fn the_name_of_a_process_can_be_any_bytes() {
        use std::io::Write as _;
        let name = thread::spawn(|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open("/proc/thread-self/comm")
                .unwrap();
            file.write_all(b"\xff) Z").unwrap();
            let id = nix::unistd::gettid().as_raw().cast_unsigned();
            let host = HostProcesses { readable: true };
            (host.read(id, "comm"), host.may_run(id))
        });
        let (name, may_run) = name.join().unwrap();
        assert_eq!(name.unwrap(), "\u{fffd}) Z\n");
        assert!(may_run);
    }

    #[test]
    fn a_process_that_is_not_in_proc_has_ended() {
        let host = HostProcesses { readable: true };
        assert!(host.may_run(std::process::id()));
        assert!(!host.may_run(NO_PROCESS));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_runs() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4227084 0 0 0 0 0 0 0 0 20 0 {threads} 0 99")
        };
        assert!(runs(&stat("S", 1)));
        assert!(runs(&stat("Z", 2)));
        assert!(!runs(&stat("Z", 1)));
        assert!(!runs(&stat("X", 0)));
    }

    #[test]
    fn processes_of_another_namespace_are_not_known_to_have_ended() {
        let host = HostProcesses { readable: false };
        assert!(host.may_run(NO_PROCESS));
        assert!(host.read(std::process::id(), "comm").is_err());
    }
}
