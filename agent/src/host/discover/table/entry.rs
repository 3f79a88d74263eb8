//! Entries of the table: library files and processes.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    host::discover::{image::FileId, owner::Owner},
    status::{LibraryId, Reason},
};
use reprise_core::plan::Plan;

/// Time for which a file without users stays probed, so that a program that is started repeatedly
/// is observed from its first handshake.
pub(super) const GRACE: Duration = Duration::from_secs(60);
/// The same if the probes keep a file system other than the root mounted, such as a container's.
pub(super) const SHORT_GRACE: Duration = Duration::from_secs(2);

/// Observation state of a library file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host::discover) enum FileState {
    /// The observing loop has not attached the probes yet.
    Pending,
    /// The probes are attached.
    Observed,
    /// The kernel treats the file as this other one (overlay file systems), whose probes cover
    /// both.
    SameAs(FileId),
    /// Not observed for now, for a reason with a description; tried again as soon as possible.
    Waiting(Reason, String),
    /// Not observed, for a reason with a description.
    Rejected(Reason, String),
}

/// A library file.
#[derive(Debug)]
pub(in crate::host::discover) struct LibraryEntry {
    /// Path at which the file was discovered, as its user sees it.
    pub(in crate::host::discover) path: String,
    pub(in crate::host::discover) state: FileState,
    /// The plan; `None` if the file is not observed.
    pub(in crate::host::discover) plan: Option<Arc<Plan>>,
    pub(super) in_standard_dir: bool,
    /// The file is neither unlinked nor in memory only.
    pub(super) is_at_rest: bool,
    /// The file is on the host's root file system.
    pub(super) on_root: bool,
    pub(super) last_used: Instant,
    pub(super) id: LibraryId,
}

impl LibraryEntry {
    pub(super) fn is_probed(&self) -> bool {
        matches!(self.state, FileState::Pending | FileState::Observed)
    }

    /// Whether the file has had no user for the grace time.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let grace = if self.is_probed() && !self.on_root {
            SHORT_GRACE
        } else {
            GRACE
        };
        now.saturating_duration_since(self.last_used) >= grace
    }
}

/// What a process uses.
#[derive(Debug)]
pub(in crate::host::discover) struct Process {
    /// Result of `process_maps::code_size`; 0 if the mappings must be read again.
    pub(in crate::host::discover) code: u64,
    pub(in crate::host::discover) files: Vec<FileId>,
    /// Why not all its libraries are known.
    pub(in crate::host::discover) problem: Option<(Reason, String)>,
    pub(in crate::host::discover) owner: Owner,
    /// Name of the translator that runs its code.
    pub(in crate::host::discover) translator: Option<&'static str>,
    /// It has a listening socket; `None` if that is not known yet.
    pub(super) listens: Option<bool>,
}

impl Process {
    pub(in crate::host::discover) const fn new(
        code: u64,
        files: Vec<FileId>,
        owner: Owner,
    ) -> Self {
        Self {
            code,
            files,
            problem: None,
            owner,
            translator: None,
            listens: None,
        }
    }
}

/// Entries that were released because no process uses them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::host::discover) struct Released {
    /// Libraries to detach.
    pub(in crate::host::discover) libraries: Vec<LibraryId>,
    pub(in crate::host::discover) files: HashSet<FileId>,
    /// Processes that used a released file under another name, and so lose its probes.
    pub(in crate::host::discover) uncovered: Vec<u32>,
}
