//! Parameters and helpers that all measurements share.

use std::{ffi::OsStr, path::Path, process::Command};

use anyhow::{Result, ensure};

use super::environment;
use crate::{interrupt, process};

/// Kind of handshake in one comparison.
pub(super) struct Case {
    /// Name in the table.
    pub(super) name: &'static str,
    /// Whether the version is TLS 1.3, with tickets, instead of TLS 1.2, with session IDs.
    pub(super) is_tls13: bool,
    /// Whether the client resumes its session.
    pub(super) is_resumed: bool,
}

/// All kinds of handshakes.
pub(super) const CASES: [Case; 4] = [
    Case {
        name: "TLS 1.2, full",
        is_tls13: false,
        is_resumed: false,
    },
    Case {
        name: "TLS 1.2, resumed",
        is_tls13: false,
        is_resumed: true,
    },
    Case {
        name: "TLS 1.3, full",
        is_tls13: true,
        is_resumed: false,
    },
    Case {
        name: "TLS 1.3, resumed",
        is_tls13: true,
        is_resumed: true,
    },
];

/// Parameters of the measurements.
pub(super) struct Bench<'a> {
    /// Path of the agent.
    pub(super) agent: &'a Path,
    /// Directory for the files of this run.
    pub(super) directory: &'a Path,
    /// `LD_PRELOAD` of a program that the agent must not observe: copies of OpenSSL's two
    /// libraries in a directory that the agent ignores. They have the sonames of the originals, so
    /// the linker does not load those.
    pub(super) unobserved: &'a OsStr,
    /// Duration of each measurement.
    pub(super) seconds: u64,
    /// Rounds of each comparison.
    pub(super) rounds: u32,
}

/// Fails after Ctrl-C; called in every loop that waits.
pub(super) fn check_interrupt() -> Result<()> {
    ensure!(
        !interrupt::received(),
        "interrupted; SPECIFICATION.md is unchanged"
    );
    Ok(())
}

/// Returns a command that runs `program` on the last CPU and is killed when this process ends.
///
/// Server and client share that CPU, which is then never idle, so the rate depends on CPU time
/// only. On separate CPUs, wake-ups dominate the rate in a virtual machine.
pub(super) fn pinned(program: &str) -> Command {
    let last = environment::cpus() - 1;
    let mut command = process::with_parent_death_signal(Path::new("taskset"), "KILL");
    command.args(["--cpu-list", &last.to_string(), program]);
    command
}
