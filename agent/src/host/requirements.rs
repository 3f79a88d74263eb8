//! The requirements of the agent that a host must meet.

use thiserror::Error;

use super::{
    capability::{Capability, Namespace, NamespaceMembership, Rights},
    lockdown::Lockdown,
    memory_lock::MemoryLock,
    tracefs_mount,
};
use crate::errors::chain;

/// A requirement that this host does not meet.
#[derive(Debug, Error)]
pub enum MissingRequirement {
    /// The capability that uprobes need on every kernel patched since July 2025 (CVE-2025-38466).
    #[error("CAP_SYS_ADMIN is missing: uprobes and tracepoints need it")]
    Capability,
    /// The process runs in a user namespace, where capabilities do not apply to the host.
    #[error("this process is in a user namespace, whose CAP_SYS_ADMIN does not apply to the host")]
    UserNamespace,
    /// BPF programs may not read memory.
    #[error("the kernel is locked down for confidentiality: no BPF program may read memory")]
    Lockdown,
    /// `/proc` is missing or not readable.
    #[error("/proc is not readable")]
    Proc(#[source] Box<procfs::ProcError>),
    /// tracefs is missing.
    #[error(transparent)]
    Tracefs(#[from] tracefs_mount::TracefsError),
    /// The handshake sensor did not start, for this reason.
    #[error("the handshake sensor cannot run on this kernel: {0}")]
    Sensor(String),
}

impl MissingRequirement {
    /// What the operator can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Capability => {
                "run as root, or grant CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"
            }
            Self::UserNamespace => "run outside of user namespaces (no rootless container)",
            Self::Lockdown => "boot with lockdown=integrity or without lockdown",
            Self::Proc(_) => "mount -t proc proc /proc",
            Self::Tracefs(_) => tracefs_mount::REMEDY,
            Self::Sensor(_) => "run `reprise check` to see what is missing",
        }
    }

    /// The requirement, its causes and the remedy on one line.
    #[must_use]
    pub fn with_remedy(&self) -> String {
        format!("{}; remedy: {}", chain(self), self.remedy())
    }
}

/// Checks that this process may observe other processes, and returns its credentials.
///
/// # Errors
///
/// The first [`MissingRequirement`].
pub(crate) fn check_permission() -> Result<Rights, MissingRequirement> {
    let rights = Rights::own().map_err(|error| MissingRequirement::Proc(Box::new(error)))?;
    if !rights.has(Capability::SysAdmin) {
        return Err(MissingRequirement::Capability);
    }
    if Namespace::User.membership() == NamespaceMembership::Other {
        return Err(MissingRequirement::UserNamespace);
    }
    if Lockdown::detect() == Lockdown::Confidentiality {
        return Err(MissingRequirement::Lockdown);
    }
    Ok(rights)
}

/// Checks the requirements, makes tracefs visible and raises the memory lock limit. Must run before
/// any thread is started.
///
/// # Errors
///
/// The first [`MissingRequirement`].
pub(crate) fn prepare() -> Result<(), MissingRequirement> {
    check_permission()?;
    tracefs_mount::ensure()?;
    let _limit = MemoryLock::raise();
    if Namespace::Pid.membership() == NamespaceMembership::Other {
        tracing::warn!("not in the host's PID namespace, run `reprise check` for the consequences");
    }
    Ok(())
}
