//! What this host must give: checked before anything is loaded, so that the message names the lack and not a failed system call.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use procfs::process::Process;
use thiserror::Error;

use crate::sensors::tracefs;

/// `CAP_SYS_ADMIN` (include/uapi/linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;

/// Something this host lacks, with the remedy.
#[derive(Debug, Error)]
pub enum Lack {
    /// The capability that uprobes need on every kernel patched since July 2025.
    #[error(
        "CAP_SYS_ADMIN is missing: uprobes and tracepoints need it; remedy: run as root, or grant \
         CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"
    )]
    Capability,
    /// `/proc` is not there or not readable.
    #[error("/proc is not readable; remedy: mount -t proc proc /proc")]
    Proc(#[source] Box<procfs::ProcError>),
    /// No tracefs.
    #[error(transparent)]
    Tracefs(#[from] tracefs::NoTracefs),
    /// The handshake sensor did not start.
    #[error("the handshake sensor cannot run on this kernel: {0}")]
    Sensor(String),
}

/// Checks the host and makes tracefs visible. Call before any thread is started.
///
/// # Errors
///
/// [`Lack`] for the first thing missing.
pub fn prepare() -> Result<(), Lack> {
    let lack = |error| Lack::Proc(Box::new(error));
    let status = Process::myself().and_then(|me| me.status()).map_err(lack)?;
    if status.capeff >> CAP_SYS_ADMIN & 1 == 0 {
        return Err(Lack::Capability);
    }
    tracefs::ensure()?;
    // Before 5.11 maps count against the memory lock; refused without CAP_SYS_RESOURCE, and then aya's own error tells.
    let _: Result<(), io::Error> =
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).map_err(io::Error::from);
    Ok(())
}

/// Whether a process still runs.
#[must_use]
pub fn lives(tgid: u32) -> bool {
    // A zombie's file is there too, but its memory and sockets are gone: the first letter after the name tells.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{tgid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}
