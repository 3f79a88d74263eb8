//! Messages between the observing loop and the discovery thread.

use std::{fs::File, path::PathBuf, time::Duration};

use reprise_core::plan::Plan;

use crate::{
    host::observed_cgroup::ObservedCgroup,
    status::{Coverage, LibraryId, Reason},
};

/// What the discovery thread examines, and how much of it is observed.
#[derive(Debug)]
pub(crate) struct DiscoveryLimits {
    /// Files below these paths are ignored.
    pub(crate) ignored: Vec<PathBuf>,
    /// Files that a process maps whose executable lies below these paths are not probed.
    pub(crate) excluded: Vec<PathBuf>,
    /// Only libraries of processes in this cgroup and below it are observed; `None` for all
    /// processes.
    pub(crate) cgroup: Option<ObservedCgroup>,
    /// Maximum number of files that are observed at one time.
    pub(crate) places: usize,
}

/// Message to the discovery thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// This process executed a program.
    Exec(u32),
    /// This process outside of the observed cgroup executed a program.
    ExecOutside(u32),
    /// This library was attached, or rejected for a reason with a description. Its files are
    /// returned, because closing a file can block.
    Attached(LibraryId, Option<(Reason, String)>, Vec<File>),
}

/// Message from the discovery thread.
#[derive(Debug)]
pub(crate) enum DiscoveryEvent {
    /// A library file was discovered.
    Library(Box<DiscoveredLibrary>),
    /// This library is not observed any more.
    Removed(LibraryId, Removal),
    /// The coverage changed.
    Coverage(Coverage),
    /// Every process that ran at the start has been scanned.
    Scanned {
        /// Number of processes.
        processes: usize,
        /// Duration of the scan.
        duration: Duration,
    },
}

/// Why a library is not observed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// No process uses it.
    Unused,
    /// Its place was assigned to a file of another owner.
    Displaced,
    /// A process that translates its code maps it.
    Translated,
    /// A process that the operator excludes maps it.
    Excluded,
    /// It will be discovered again.
    Retried,
}

/// A library file and its plan.
#[derive(Debug)]
pub(crate) struct DiscoveredLibrary {
    /// Identity in all messages about the library.
    pub id: LibraryId,
    /// Path at which the file was discovered, for display only.
    pub path: String,
    /// The open library.
    pub ssl: File,
    /// The open crypto library of the same process or directory.
    pub crypto: Option<File>,
    /// The plan, or the reason why there is none, with a description.
    pub plan: Result<Plan, (Reason, String)>,
}

/// The observing loop has ended.
pub(super) struct Disconnected;
