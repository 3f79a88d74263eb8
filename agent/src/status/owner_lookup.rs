//! How the agent finds the owner of a process: its container, unit or name.

use serde::{Deserialize, Serialize};

/// Source of the owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerLookup {
    /// The cgroup IDs in the events; the kernel reports the paths.
    Reported,
    /// The cgroup IDs in the events; the paths are read when an ID is unknown.
    Read,
    /// `/proc`, after the event: the events have no usable cgroup IDs.
    Proc,
}

impl OwnerLookup {
    /// Description of the source.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Reported => "cgroup IDs in events, paths reported by the kernel",
            Self::Read => "cgroup IDs in events, paths read from the hierarchy",
            Self::Proc => "/proc after the event",
        }
    }
}

/// Sizes of the table of cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupCounts {
    /// Cgroups of which the path is known.
    pub known: u64,
    /// Cgroups evicted because the table was full.
    pub evicted: u64,
}
