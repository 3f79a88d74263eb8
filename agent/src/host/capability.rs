//! The capabilities that the agent can need, those that this process has, and its namespaces.

use std::fmt;

use procfs::process::Process;

use super::proc_link::inode_of;

/// A capability, with its number (include/uapi/linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Capability {
    /// Allows opening library files of other users.
    DacReadSearch = 2,
    /// Allows attaching the packet programs before 6.9.
    NetAdmin = 12,
    /// Allows reading the mappings of other users' processes.
    SysPtrace = 19,
    /// Allows BPF, perf events, uprobes and mounts.
    SysAdmin = 21,
    /// Allows raising the memory lock limit.
    SysResource = 24,
    /// The part of `CAP_SYS_ADMIN` for perf events.
    Perfmon = 38,
    /// The part of `CAP_SYS_ADMIN` for BPF.
    Bpf = 39,
}

impl Capability {
    /// Name as in capabilities(7).
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// Credentials of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// Effective user ID.
    pub uid: u32,
}

impl Rights {
    /// Reads the credentials of this process.
    ///
    /// # Errors
    ///
    /// `/proc/self/status` cannot be read.
    pub(crate) fn own() -> procfs::ProcResult<Self> {
        let status = Process::myself()?.status()?;
        Ok(Self {
            effective: status.capeff,
            uid: status.euid,
        })
    }

    /// Whether a capability is effective.
    #[must_use]
    pub(crate) const fn has(self, capability: Capability) -> bool {
        self.effective >> capability as u8 & 1 == 1
    }
}

/// A kind of namespace in which the agent needs the host's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// Capabilities in other user namespaces do not apply to global operations.
    User,
    /// Events carry process IDs of the host's PID namespace.
    Pid,
}

/// Membership of this process in a namespace of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamespaceMembership {
    /// The process is in the host's namespace.
    Host,
    /// The process is in another namespace.
    Other,
    /// The kernel has no such namespaces, or `/proc` does not show them.
    Unknown,
}

impl Namespace {
    /// File below `/proc/self/ns`, and inode of the host's namespace (`PROC_USER_INIT_INO`,
    /// `PROC_PID_INIT_INO`, include/linux/proc_ns.h).
    const fn file_and_inode(self) -> (&'static str, u64) {
        match self {
            Self::User => ("user", 0xEFFF_FFFD),
            Self::Pid => ("pid", 0xEFFF_FFFC),
        }
    }

    /// Membership of this process.
    #[must_use]
    pub(crate) fn membership(self) -> NamespaceMembership {
        let (file, inode) = self.file_and_inode();
        let link = std::fs::read_link(format!("/proc/self/ns/{file}"));
        match link.ok().and_then(|link| inode_of(&link)) {
            Some(found) if found == inode => NamespaceMembership::Host,
            Some(_) => NamespaceMembership::Other,
            None => NamespaceMembership::Unknown,
        }
    }
}

impl fmt::Display for NamespaceMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host's",
            Self::Other => "not the host's",
            Self::Unknown => "/proc does not say which",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_bits_start_at_zero() {
        let rights = Rights {
            effective: 1 << 21 | 1 << 39,
            uid: 0,
        };
        assert!(rights.has(Capability::SysAdmin) && rights.has(Capability::Bpf));
        assert!(!rights.has(Capability::Perfmon) && !rights.has(Capability::SysPtrace));
    }
}
