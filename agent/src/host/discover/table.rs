//! Tracks which process uses which library file, and derives the coverage. Pure.
//!
//! The entry of a file exists as long as a process maps it or it lies in a standard directory.
//! Probes hold a reference to the file and to its mount, so that they must be removed soon after
//! the last user has ended.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    image::FileId,
    owner::Owner,
    places::{self, Candidate, Changes},
};
use crate::status::{Coverage, Example, LibraryId, MAX_EXAMPLES, Reason};
use reprise_core::plan::Plan;

/// Time for which a file without users stays probed, so that a program that is started repeatedly
/// is observed from its first handshake.
const GRACE: Duration = Duration::from_secs(60);
/// The same if the probes keep a file system other than the root mounted, such as a container's.
const SHORT_GRACE: Duration = Duration::from_secs(2);
/// Maximum number of files; further files are not observed.
const MAX_FILES: usize = 4_096;
/// Maximum number of files that only the processes of one group of owners use.
const MAX_FILES_PER_GROUP: usize = MAX_FILES / 4;
/// Maximum number of processes that are checked for listening sockets at one time.
const MAX_LISTENING_CHECKS: usize = 64;
/// Maximum number of processes; further processes are ignored.
const MAX_PROCESSES: usize = 262_144;

/// Observation state of a library file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileState {
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
pub(super) struct LibraryEntry {
    /// Path at which the file was discovered, as its user sees it.
    pub(super) path: String,
    pub(super) state: FileState,
    /// The plan; `None` if the file is not observed.
    pub(super) plan: Option<Arc<Plan>>,
    in_standard_dir: bool,
    /// The file is neither unlinked nor in memory only.
    is_at_rest: bool,
    /// The file is on the host's root file system.
    on_root: bool,
    last_used: Instant,
    id: LibraryId,
}

impl LibraryEntry {
    fn is_probed(&self) -> bool {
        matches!(self.state, FileState::Pending | FileState::Observed)
    }

    /// Whether the file has had no user for the grace time.
    fn is_idle(&self, now: Instant) -> bool {
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
pub(super) struct Process {
    /// Result of `process_maps::code_size`; 0 if the mappings must be read again.
    pub(super) code: u64,
    pub(super) files: Vec<FileId>,
    /// Why not all its libraries are known.
    pub(super) problem: Option<(Reason, String)>,
    pub(super) owner: Owner,
    /// Name of the translator that runs its code.
    pub(super) translator: Option<&'static str>,
    /// It has a listening socket; `None` if that is not known yet.
    listens: Option<bool>,
}

impl Process {
    pub(super) const fn new(code: u64, files: Vec<FileId>, owner: Owner) -> Self {
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
pub(super) struct Released {
    /// Libraries to detach.
    pub(super) libraries: Vec<LibraryId>,
    pub(super) files: HashSet<FileId>,
    /// Processes that used a released file under another name, and so lose its probes.
    pub(super) uncovered: Vec<u32>,
}

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
            last_id: 0,
        }
    }

    pub(super) fn contains(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// Whether no further file of a group of owners is accepted; counts the file otherwise.
    pub(super) fn is_full(&mut self, group: &Rc<str>) -> bool {
        let count = self.per_group.entry(Rc::clone(group)).or_default();
        let is_full = self.files.len() >= MAX_FILES || *count >= MAX_FILES_PER_GROUP;
        if !is_full {
            *count += 1;
        }
        is_full
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

    /// Whether the process runs under a translator.
    pub(super) fn is_translated(&self, pid: u32) -> bool {
        let process = self.processes.get(&pid);
        process.is_some_and(|process| process.translator.is_some())
    }

    /// A process under a translator to which the file is left, with the translator's name: one of
    /// root, or of the only user of the file. Otherwise any user could end the observation of
    /// others.
    pub(super) fn translated_by(&self, file: FileId) -> Option<(u32, &'static str)> {
        let mut translated = self.users(file).filter_map(|(pid, process)| {
            let translator = process.translator?;
            Some((pid, translator, process.owner.uid))
        });
        let is_left_to = |uid: u32| {
            let mut users = self.users(file);
            uid == 0 || users.all(|(_, process)| process.owner.uid == uid)
        };
        translated
            .find(|(.., uid)| is_left_to(*uid))
            .map(|(pid, translator, _)| (pid, translator))
    }

    fn users(&self, file: FileId) -> impl Iterator<Item = (u32, &Process)> {
        let processes = self.processes.iter().map(|(pid, process)| (*pid, process));
        processes.filter(move |(_, process)| process.files.contains(&file))
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

    /// Observed files that must be left to a translator, with a description.
    pub(super) fn translated(&self) -> Vec<(FileId, String)> {
        let processes = self.processes.values();
        let translated: HashSet<FileId> = processes
            .filter(|process| process.translator.is_some())
            .flat_map(|process| process.files.iter().copied())
            .collect();
        let probed = translated.into_iter().filter(|file| {
            let library = self.files.get(file);
            library.is_some_and(LibraryEntry::is_probed)
        });
        probed
            .filter_map(|file| Some((file, translated_text(self.translated_by(file)?))))
            .collect()
    }

    /// Stops the observation of a file for now; returns the ID of the library to detach.
    pub(super) fn evict(
        &mut self,
        file: FileId,
        reason: Reason,
        finding: String,
    ) -> Option<LibraryId> {
        self.last_id += 1;
        let library = self.files.get_mut(&file)?;
        library.state = FileState::Waiting(reason, finding);
        library.plan = None;
        let new = LibraryId(self.last_id);
        Some(std::mem::replace(&mut library.id, new))
    }

    /// Removes a waiting file so that it is discovered again; returns its ID and its users, which
    /// must be examined.
    pub(super) fn retry(&mut self, file: FileId) -> Option<(LibraryId, Vec<u32>)> {
        let library = self.files.remove(&file)?;
        let mut users = Vec::new();
        for (pid, process) in &mut self.processes {
            if process.files.contains(&file) {
                process.code = 0;
                users.push(*pid);
            }
        }
        Some((library.id, users))
    }

    /// Chooses which waiting files get a place, and which files give way. `listens` says whether a
    /// process has a listening socket.
    pub(super) fn share_places(&mut self, listens: impl FnMut(u32) -> Option<bool>) -> Changes {
        let waits = |file: FileId, library: &LibraryEntry| match library.state {
            FileState::Waiting(Reason::Translated, _) => self.translated_by(file).is_none(),
            FileState::Waiting(..) => true,
            _ => false,
        };
        let waiting: HashSet<FileId> = self
            .files
            .iter()
            .filter(|(file, library)| waits(**file, library))
            .map(|(file, _)| *file)
            .collect();
        if waiting.is_empty() {
            return Changes::default();
        }
        let holders: HashSet<FileId> = self
            .files
            .iter()
            .filter(|(_, library)| library.is_probed())
            .map(|(file, _)| *file)
            .collect();
        if holders.len() >= self.places {
            self.check_listening(&(&holders | &waiting), listens);
        }
        let users = self.users_by_file();
        let candidates = |files: HashSet<FileId>| {
            let candidates = files.into_iter().map(|file| self.candidate(file, &users));
            candidates.collect()
        };
        places::share(candidates(holders), candidates(waiting), self.places)
    }

    fn users_by_file(&self) -> HashMap<FileId, Vec<&Process>> {
        let mut users: HashMap<FileId, Vec<&Process>> = HashMap::new();
        for process in self.processes.values() {
            for file in &process.files {
                users.entry(*file).or_default().push(process);
            }
        }
        users
    }

    fn candidate(&self, file: FileId, users: &HashMap<FileId, Vec<&Process>>) -> Candidate {
        let users = users.get(&file).map(Vec::as_slice).unwrap_or_default();
        let owners: HashSet<&Owner> = users.iter().map(|process| &process.owner).collect();
        let library = self.files.get(&file);
        let listens = users.iter().any(|process| process.listens == Some(true));
        let is_at_rest = library.is_some_and(|library| library.is_at_rest);
        Candidate {
            file,
            owners: owners.into_iter().cloned().collect(),
            rank: u8::from(listens) + u8::from(is_at_rest),
            is_standard: library.is_some_and(|library| library.in_standard_dir),
        }
    }

    /// Checks some processes that use one of the files for listening sockets.
    fn check_listening(
        &mut self,
        files: &HashSet<FileId>,
        mut listens: impl FnMut(u32) -> Option<bool>,
    ) {
        let unknown = self.processes.iter_mut().filter(|(_, process)| {
            process.listens.is_none() && process.files.iter().any(|file| files.contains(file))
        });
        for (pid, process) in unknown.take(MAX_LISTENING_CHECKS) {
            process.listens = listens(*pid);
        }
    }

    /// Counts the files of each group of owners.
    pub(super) fn count_groups(&mut self) {
        let users = self.users_by_file();
        let mut counts: HashMap<Rc<str>, usize> = HashMap::new();
        for processes in users.values() {
            // A file of several groups is charged to none of them.
            let groups: HashSet<&Rc<str>> = processes
                .iter()
                .map(|process| &process.owner.group)
                .collect();
            if let [group] = groups.into_iter().collect::<Vec<_>>().as_slice() {
                *counts.entry(Rc::clone(group)).or_default() += 1;
            }
        }
        self.per_group = counts;
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
        for (pid, process) in &self.processes {
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

/// Why a file is left to a translator.
pub(super) fn translated_text((pid, translator): (u32, &'static str)) -> String {
    format!("process {pid} runs under {translator}, which would execute the probes as instructions")
}

#[cfg(test)]
mod tests;
