//! What this host gives and what it lacks. `run`, `watch` and `record` refuse by it before anything is loaded, so that the
//! message names the lack and not a failed system call; `check` tells all of it.

pub mod capability;
pub mod cgroup;
pub mod clock;
pub mod confine;
pub mod discover;
pub mod lockdown;
pub mod memory_lock;
pub mod pods;
pub mod privilege;
pub mod workloads;

use thiserror::Error;

use self::{
    capability::{Capability, Namespace, Place, Rights},
    lockdown::Lockdown,
    memory_lock::MemoryLock,
};
use crate::bpf::tracefs;

/// Something this host lacks.
#[derive(Debug, Error)]
pub enum Lack {
    /// The capability that uprobes need on every kernel patched since July 2025 (CVE-2025-38466).
    #[error("CAP_SYS_ADMIN is missing: uprobes and tracepoints need it")]
    Capability,
    /// Capabilities do not count.
    #[error("this process is in a user namespace of its own, where CAP_SYS_ADMIN does not count")]
    UserNamespace,
    /// Programs may not read memory.
    #[error("the kernel is locked down for confidentiality: no BPF program may read memory")]
    Lockdown,
    /// `/proc` is not there or not readable.
    #[error("/proc is not readable")]
    Proc(#[source] Box<procfs::ProcError>),
    /// No tracefs.
    #[error(transparent)]
    Tracefs(#[from] tracefs::NoTracefs),
    /// The handshake sensor did not start.
    #[error("the handshake sensor cannot run on this kernel: {0}")]
    Sensor(String),
}

impl Lack {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Capability => {
                "run as root, or grant CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"
            }
            Self::UserNamespace => "run outside of it (no rootless container)",
            Self::Lockdown => "boot with lockdown=integrity or without lockdown",
            Self::Proc(_) => "mount -t proc proc /proc",
            Self::Tracefs(_) => tracefs::REMEDY,
            Self::Sensor(_) => "`reprise check` tells what is missing",
        }
    }

    /// What is lacking, of what it comes, and the remedy, on one line.
    #[must_use]
    pub fn tell(&self) -> String {
        format!("{}; remedy: {}", crate::chain(self), self.remedy())
    }
}

/// Whether this process may observe at all.
///
/// # Errors
///
/// [`Lack`] for the first thing missing.
pub fn permitted() -> Result<Rights, Lack> {
    let rights = Rights::own().map_err(|error| Lack::Proc(Box::new(error)))?;
    if !rights.has(Capability::SysAdmin) {
        return Err(Lack::Capability);
    }
    if Namespace::User.place() == Place::Own {
        return Err(Lack::UserNamespace);
    }
    if Lockdown::own() == Lockdown::Confidentiality {
        return Err(Lack::Lockdown);
    }
    Ok(rights)
}

/// Checks the host and makes tracefs visible. Call before any thread is started.
///
/// # Errors
///
/// [`Lack`] for the first thing missing.
pub fn prepare() -> Result<(), Lack> {
    permitted()?;
    tracefs::ensure()?;
    let _limit = MemoryLock::lift();
    if Namespace::Pid.place() == Place::Own {
        tracing::warn!("not in the host's PID namespace: `reprise check` says what is missed");
    }
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
