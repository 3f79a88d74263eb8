//! How the agent finds the owner of a process: its container, unit or name.

use serde::{Deserialize, Serialize};

/// Source of the owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerLookup {
    /// Source of the paths of the cgroups that events name; `None` where events name none.
    pub paths: Option<PathSource>,
    /// Processes are also in hierarchies of cgroup v1: where the v2 path shows no container,
    /// `/proc` decides.
    pub has_v1: bool,
}

/// Source of the paths of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSource {
    /// The kernel reports each cgroup that is created.
    Reports,
    /// The hierarchy is read when an ID is unknown.
    Directories,
}

impl OwnerLookup {
    /// Description of the source.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match (self.paths, self.has_v1) {
            (Some(PathSource::Reports), false) => "cgroup IDs in events, paths from the kernel",
            (Some(PathSource::Reports), true) => {
                "cgroup IDs in events, paths from the kernel; /proc for cgroup v1"
            }
            (Some(PathSource::Directories), false) => {
                "cgroup IDs in events, paths from the hierarchy"
            }
            (Some(PathSource::Directories), true) => {
                "cgroup IDs in events, paths from the hierarchy; /proc for cgroup v1"
            }
            (None, _) => "/proc after the event",
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
