//! The capabilities that observation can need, which of them this process has, and whether they count.

use std::fmt;

use procfs::process::Process;

/// A capability, by its number (include/uapi/linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Opens other users' library files.
    DacReadSearch = 2,
    /// Attaches the programs that see packets, before 6.9.
    NetAdmin = 12,
    /// Reads what other users' processes map.
    SysPtrace = 19,
    /// BPF, perf events, uprobes, mounts.
    SysAdmin = 21,
    /// Raises the memory lock limit.
    SysResource = 24,
    /// A part of `CAP_SYS_ADMIN`.
    Perfmon = 38,
    /// A part of `CAP_SYS_ADMIN`.
    Bpf = 39,
}

impl Capability {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

/// What this process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// Effective user ID.
    pub uid: u32,
}

impl Rights {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// `/proc/self/status` cannot be read.
    pub fn own() -> procfs::ProcResult<Self> {
        let status = Process::myself()?.status()?;
        Ok(Self {
            effective: status.capeff,
            uid: status.euid,
        })
    }

    /// Whether it has this one.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.effective >> capability as u8 & 1 == 1
    }
}

/// A kind of namespace of which the host's own is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Capabilities of any other count for nothing that is global.
    User,
    /// Events carry process IDs of the host's.
    Pid,
}

/// Where this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the host's own.
    Host,
    /// In another one.
    Own,
    /// The kernel has no such namespaces, or `/proc` does not say.
    Unknown,
}

impl Namespace {
    /// Its file below `/proc/self/ns` and the inode of the host's own (`PROC_USER_INIT_INO`, `PROC_PID_INIT_INO`,
    /// include/linux/proc_ns.h).
    const fn file_and_inode(self) -> (&'static str, u64) {
        match self {
            Self::User => ("user", 0xEFFF_FFFD),
            Self::Pid => ("pid", 0xEFFF_FFFC),
        }
    }

    /// Where this process is.
    #[must_use]
    pub fn place(self) -> Place {
        let (file, inode) = self.file_and_inode();
        let link = std::fs::read_link(format!("/proc/self/ns/{file}"));
        match link.ok().and_then(|link| number(&link.to_string_lossy())) {
            Some(found) if found == inode => Place::Host,
            Some(_) => Place::Own,
            None => Place::Unknown,
        }
    }
}

/// `pid:[4026531836]`.
fn number(link: &str) -> Option<u64> {
    link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host's",
            Self::Own => "not the host's",
            Self::Unknown => "/proc does not say which",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_zero() {
        let rights = Rights {
            effective: 1 << 21 | 1 << 39,
            uid: 0,
        };
        assert!(rights.has(Capability::SysAdmin) && rights.has(Capability::Bpf));
        assert!(!rights.has(Capability::Perfmon) && !rights.has(Capability::SysPtrace));
    }

    #[test]
    fn namespaces_are_numbered() {
        assert_eq!(number("pid:[4026531836]"), Some(0xEFFF_FFFC));
        assert_eq!(number("pid:[x]"), None);
        assert_eq!(number("rubbish"), None);
    }
}
