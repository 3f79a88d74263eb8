//! Tracks which process uses which library file, and derives the coverage. Pure.
//!
//! The entry of a file exists as long as a process maps it or it lies in a standard directory.
//! Probes hold a reference to the file and to its mount, so that they must be removed soon after
//! the last user has ended.

mod entry;
mod outside;
mod sharing;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

pub(super) use self::entry::{FileState, LibraryEntry, Process, Released};
use super::{image::FileId, owner::Owner};
use crate::status::{Coverage, Example, LibraryId, MAX_EXAMPLES, Reason};
use reprise_core::plan::Plan;

/// Maximum number of files; further files are not observed.
const MAX_FILES: usize = 4_096;
/// Maximum number of processes; further processes are ignored.
const MAX_PROCESSES: usize = 262_144;

/// The table of files and processes.
#[derive(Debug)]
pub(super) struct Table {
    /// Device of the host's root file system.
    root: u64,
    /// Number of files that can be observed at one time: fewer than `max_places` after descriptors
    /// have run out.
    places: usize,
    max_places: usize,
    /// Number of files per group of owners when this was last counted, and files added since.
    per_group: HashMap<Rc<str>, usize>,
    files: HashMap<FileId, LibraryEntry>,
    processes: HashMap<u32, Process>,
    /// Processes outside of the observed cgroup: they show only which files a translator maps.
    outside: HashSet<u32>,
    last_id: u64,
}

impl Table {
    pub(super) fn new(root: u64, places: usize) -> Self {
        Self {
            root,
            places,
            max_places: places,
            per_group: HashMap::new(),
            files: HashMap::new(),
            processes: HashMap::new(),
            outside: HashSet::new(),
            last_id: 0,
        }
    }

    pub(super) fn contains(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// Number of files that can be observed at one time.
    pub(super) const fn places(&self) -> usize {
        self.places
    }

    /// Tries whether one file more can be observed, after descriptors have run out.
    pub(super) fn grow(&mut self) {
        self.places = self.max_places.min(self.places + 1);
    }

    fn probed(&self) -> usize {
        let probed = self.files.values().filter(|library| library.is_probed());
        probed.count()
    }

    /// Whether a place for a further file is free.
    pub(super) fn has_free_place(&self) -> bool {
        self.probed() < self.places
    }

    /// Adds a file and returns its ID.
    pub(super) fn add(
        &mut self,
        file: FileId,
        path: String,
        state: FileState,
        plan: Option<Arc<Plan>>,
        is_at_rest: bool,
    ) -> LibraryId {
        self.last_id += 1;
        let id = LibraryId(self.last_id);
        let library = LibraryEntry {
            path,
            state,
            plan,
            in_standard_dir: false,
            is_at_rest,
            on_root: file.device() == self.root,
            last_used: Instant::now(),
            id,
        };
        self.files.insert(file, library);
        id
    }

    /// A probed file that `file` may be another name of: it has the same plan and the same inode
    /// number, which an overlay takes from the underlying file
    /// (Documentation/filesystems/overlayfs.rst, "Inode properties").
    pub(super) fn same_file_candidate(
        &self,
        file: FileId,
        plan: &Plan,
    ) -> Option<(FileId, FileState)> {
        self.files
            .iter()
            .find(|(other, library)| {
                other.underlying_inode() == file.underlying_inode()
                    && library.is_probed()
                    && library.plan.as_deref() == Some(plan)
            })
            .map(|(other, library)| (*other, library.state.clone()))
    }

    /// Records the result of attaching a library.
    pub(super) fn record_attach(&mut self, id: LibraryId, rejected: Option<(Reason, String)>) {
        let out_of_places = matches!(rejected, Some((Reason::TooManyLibraries, _)));
        // The entry may have been released meanwhile.
        if let Some(library) = self.files.values_mut().find(|library| library.id == id) {
            library.state = match rejected {
                None => FileState::Observed,
                // What has run out may become available.
                Some((reason @ Reason::TooManyLibraries, finding)) => {
                    FileState::Waiting(reason, finding)
                }
                Some((reason, finding)) => FileState::Rejected(reason, finding),
            };
        }
        if out_of_places {
            self.places = self.probed().max(1);
        }
    }

    /// Sets the files that lie in a standard directory.
    pub(super) fn set_standard_dirs(&mut self, files: &HashSet<FileId>) {
        for (file, library) in &mut self.files {
            library.in_standard_dir = files.contains(file);
        }
    }

    /// Code size of a process when it was last examined.
    pub(super) fn code_of(&self, pid: u32) -> Option<u64> {
        self.processes.get(&pid).map(|process| process.code)
    }

    /// Records what a process uses.
    pub(super) fn record_process(&mut self, pid: u32, process: Process) {
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&pid) {
            self.processes.insert(pid, process);
        }
    }

    /// Records that the mappings of a process cannot be read now. Its known libraries remain.
    pub(super) fn record_problem(&mut self, pid: u32, code: u64, problem: (Reason, String)) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.code = code;
            process.problem = Some(problem);
        } else {
            let mut process = Process::new(code, Vec::new(), Owner::read(pid));
            process.problem = Some(problem);
            self.record_process(pid, process);
        }
    }

    /// The library files that a process is known to map.
    pub(super) fn files_of(&self, pid: u32) -> &[FileId] {
        self.processes
            .get(&pid)
            .map_or(&[], |process| process.files.as_slice())
    }

    /// Whether the process runs under a translator.
    pub(super) fn is_translated(&self, pid: u32) -> bool {
        let process = self.processes.get(&pid);
        process.is_some_and(|process| process.translator.is_some())
    }

    /// Removes a process that ended or executed another program.
    pub(super) fn remove_process(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    /// Marks all processes to be examined again.
    pub(super) fn invalidate(&mut self) {
        self.processes
            .values_mut()
            .for_each(|process| process.code = 0);
    }

    /// Removes the processes that are not alive.
    pub(super) fn retain_processes(&mut self, is_alive: impl Fn(u32) -> bool) {
        self.processes.retain(|pid, _| is_alive(*pid));
        self.outside.retain(|pid| is_alive(*pid));
    }

    /// Processes that map an observed file outside the standard directories.
    pub(super) fn holders(&self) -> Vec<u32> {
        let held = |file: &FileId| {
            self.files.get(file).is_some_and(|library| {
                let state = &library.state;
                !library.in_standard_dir
                    && !matches!(state, FileState::Rejected(..) | FileState::Waiting(..))
            })
        };
        self.processes
            .iter()
            .filter(|(_, process)| process.files.iter().any(held))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Removes the files that no process has used for the grace time.
    pub(super) fn release(&mut self, now: Instant) -> Released {
        let used: HashSet<FileId> = self
            .processes
            .values()
            .flat_map(|process| &process.files)
            .copied()
            .collect();
        let mut released = Released::default();
        self.files.retain(|file, library| {
            let in_use = library.in_standard_dir || used.contains(file);
            if in_use {
                library.last_used = now;
            }
            let keep = in_use || !library.is_idle(now);
            if !keep {
                released.files.insert(*file);
                released.libraries.push(library.id);
            }
            keep
        });
        // Other names of a released file are removed too: they need their own probes from now on.
        let mut orphans = HashSet::new();
        self.files.retain(|file, library| {
            let orphan =
                matches!(library.state, FileState::SameAs(other) if released.files.contains(&other));
            if orphan {
                orphans.insert(*file);
            }
            !orphan
        });
        let affected = self
            .processes
            .iter_mut()
            .filter(|(_, process)| process.files.iter().any(|file| orphans.contains(file)));
        for (pid, process) in affected {
            process.code = 0;
            released.uncovered.push(*pid);
        }
        released.files.extend(orphans);
        released
    }

    /// The entry with the probes of a file.
    fn effective(&self, file: FileId) -> Option<&LibraryEntry> {
        let library = self.files.get(&file)?;
        match library.state {
            FileState::SameAs(other) => self.files.get(&other),
            _ => Some(library),
        }
    }

    /// Derives which processes are observed and which are not.
    pub(super) fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        let inside = self.processes.iter();
        for (pid, process) in inside.filter(|(pid, _)| !self.is_outside(**pid)) {
            let libraries: Vec<&LibraryEntry> = process
                .files
                .iter()
                .filter_map(|file| self.effective(*file))
                .collect();
            for library in &libraries {
                *coverage.users.entry(library.id).or_default() += 1;
            }
            if libraries.iter().any(|library| library.is_probed()) {
                coverage.observed += 1;
                continue;
            }
            let rejected = libraries.iter().filter_map(|library| match &library.state {
                FileState::Rejected(reason, finding) | FileState::Waiting(reason, finding) => {
                    Some((*reason, &library.path, finding))
                }
                _ => None,
            });
            // A library that could be observed in principle is reported before one that cannot.
            let reported = rejected.min_by_key(|(reason, ..)| *reason == Reason::OtherLibrary);
            let (reason, file, finding) = match (reported, &process.problem) {
                (Some((reason, file, finding)), _) => (reason, file.clone(), finding),
                (None, Some((reason, finding))) => (*reason, String::new(), finding),
                (None, None) => continue,
            };
            let uncovered = coverage.uncovered.entry(reason).or_default();
            uncovered.processes += 1;
            uncovered.examples.push(Example {
                pid: *pid,
                file,
                finding: finding.clone(),
            });
        }
        for uncovered in coverage.uncovered.values_mut() {
            uncovered.examples.sort_unstable();
            uncovered.examples.truncate(MAX_EXAMPLES);
        }
        coverage
    }
}

#[cfg(test)]
mod tests;
