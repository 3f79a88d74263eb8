//! Who uses which library file, and what that makes of coverage. Pure: told what was seen, asked what follows.
//!
//! An entry for a file lives as long as some process maps it or it lies at rest in a usual directory. Probes hold on to a file and
//! to the mount that it was opened through, so that they must not outlive its last user by long.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::{Duration, Instant},
};

use super::image::FileId;
use crate::status::{Coverage, Example, MAX_EXAMPLES, Reason};
use reprise_core::plan::Plan;

/// How long a file without users is remembered: a program that is started time and again is observed from its first handshake.
/// Where probes would keep a file system mounted, a container's say, no longer than it takes to be sure.
const GRACE: Duration = Duration::from_secs(60);
const SHORT_GRACE: Duration = Duration::from_secs(2);
/// Files and processes kept at most; what is beyond is not looked at.
const MAX_FILES: usize = 4_096;
const MAX_PROCESSES: usize = 262_144;

/// What became of a library file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Handed over to be attached.
    Waiting,
    /// Its probes are in place.
    Observed,
    /// The kernel takes it for the same file as this one (overlay file systems): the probes there are its probes.
    Same(FileId),
    /// Not observed.
    Refused(Reason, String),
}

/// A library file.
#[derive(Debug)]
pub(super) struct Library {
    /// Where it was found first, as its user sees it.
    pub(super) path: String,
    pub(super) state: State,
    /// How it is probed; `None` where it is not.
    pub(super) plan: Option<Rc<Plan>>,
    at_rest: bool,
    /// Its file system is the host's root.
    on_root: bool,
    used: Instant,
    key: u64,
}

impl Library {
    fn is_probed(&self) -> bool {
        matches!(self.state, State::Waiting | State::Observed)
    }

    /// Nobody used it for so long that it is let go.
    fn is_idle(&self, now: Instant) -> bool {
        let grace = if self.is_probed() && !self.on_root {
            SHORT_GRACE
        } else {
            GRACE
        };
        now.saturating_duration_since(self.used) >= grace
    }
}

#[derive(Debug)]
struct Process {
    /// As [`super::maps::code_size`] tells.
    code: u64,
    files: Vec<FileId>,
    /// Why its mappings could not be read.
    unreadable: Option<String>,
}

/// What nobody uses any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Released {
    /// Keys of the libraries to detach.
    pub(super) keys: Vec<u64>,
    pub(super) files: HashSet<FileId>,
    /// Processes that relied on the probes of a file that is released, through another name of it.
    pub(super) bereft: Vec<u32>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    /// Device of the host's root.
    root: u64,
    files: HashMap<FileId, Library>,
    processes: HashMap<u32, Process>,
    keys: u64,
}

impl Table {
    pub(super) fn new(root: u64) -> Self {
        Self {
            root,
            files: HashMap::new(),
            processes: HashMap::new(),
            keys: 0,
        }
    }

    pub(super) fn knows(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES
    }

    /// Adds a file; returns its key.
    pub(super) fn add(
        &mut self,
        file: FileId,
        path: String,
        state: State,
        plan: Option<Rc<Plan>>,
        now: Instant,
    ) -> u64 {
        self.keys += 1;
        let library = Library {
            path,
            state,
            plan,
            at_rest: false,
            on_root: file.device() == self.root,
            used: now,
            key: self.keys,
        };
        self.files.insert(file, library);
        self.keys
    }

    /// The file that `file` may be another name of: probed as `plan` says, with the same number, which an overlay takes over from
    /// the file behind it (Documentation/filesystems/overlayfs.rst, "Inode properties").
    pub(super) fn twin(&self, file: FileId, plan: &Plan) -> Option<(FileId, State)> {
        self.files
            .iter()
            .find(|(other, library)| {
                other.number_behind() == file.number_behind()
                    && library.is_probed()
                    && library.plan.as_deref() == Some(plan)
            })
            .map(|(other, library)| (*other, library.state.clone()))
    }

    /// What became of the attempt to attach.
    pub(super) fn settle(&mut self, key: u64, refused: Option<(Reason, String)>) {
        // Gone meanwhile: nothing to settle.
        if let Some(library) = self.files.values_mut().find(|library| library.key == key) {
            library.state = match refused {
                None => State::Observed,
                Some((reason, finding)) => State::Refused(reason, finding),
            };
        }
    }

    /// Which files lie at rest now.
    pub(super) fn rest(&mut self, files: &HashSet<FileId>) {
        for (file, library) in &mut self.files {
            library.at_rest = files.contains(file);
        }
    }

    /// The size of the code of a process when it was looked at last.
    pub(super) fn code_of(&self, pid: u32) -> Option<u64> {
        self.processes.get(&pid).map(|process| process.code)
    }

    /// What a process maps.
    pub(super) fn saw(
        &mut self,
        pid: u32,
        code: u64,
        files: Vec<FileId>,
        unreadable: Option<String>,
    ) {
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&pid) {
            let process = Process {
                code,
                files,
                unreadable,
            };
            self.processes.insert(pid, process);
        }
    }

    /// A process is gone, or has another program.
    pub(super) fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    /// All processes are to be read again.
    pub(super) fn doubt(&mut self) {
        self.processes
            .values_mut()
            .for_each(|process| process.code = 0);
    }

    /// Keeps the processes that live.
    pub(super) fn keep(&mut self, lives: impl Fn(u32) -> bool) {
        self.processes.retain(|pid, _| lives(*pid));
    }

    /// Processes whose end would release a file.
    pub(super) fn holders(&self) -> Vec<u32> {
        let held = |file: &FileId| {
            self.files.get(file).is_some_and(|library| {
                !library.at_rest && !matches!(library.state, State::Refused(..))
            })
        };
        self.processes
            .iter()
            .filter(|(_, process)| process.files.iter().any(held))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Drops the files that nobody uses any more.
    pub(super) fn release(&mut self, now: Instant) -> Released {
        let used: HashSet<FileId> = self
            .processes
            .values()
            .flat_map(|process| &process.files)
            .copied()
            .collect();
        let mut released = Released::default();
        self.files.retain(|file, library| {
            let in_use = library.at_rest || used.contains(file);
            if in_use {
                library.used = now;
            }
            let keep = in_use || !library.is_idle(now);
            if !keep {
                released.files.insert(*file);
                released.keys.push(library.key);
            }
            keep
        });
        // Other names of a released file are found anew: they need probes of their own.
        let mut orphans = HashSet::new();
        self.files.retain(|file, library| {
            let orphan =
                matches!(library.state, State::Same(other) if released.files.contains(&other));
            if orphan {
                orphans.insert(*file);
            }
            !orphan
        });
        let bereft = self
            .processes
            .iter_mut()
            .filter(|(_, process)| process.files.iter().any(|file| orphans.contains(file)));
        for (pid, process) in bereft {
            process.code = 0;
            released.bereft.push(*pid);
        }
        released.files.extend(orphans);
        released
    }

    /// The entry whose state counts for a file.
    fn effective(&self, file: FileId) -> Option<&Library> {
        let library = self.files.get(&file)?;
        match library.state {
            State::Same(other) => self.files.get(&other),
            _ => Some(library),
        }
    }

    pub(super) fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        for (pid, process) in &self.processes {
            let libraries: Vec<&Library> = process
                .files
                .iter()
                .filter_map(|file| self.effective(*file))
                .collect();
            for library in &libraries {
                *coverage.users.entry(library.key).or_default() += 1;
            }
            if libraries.iter().any(|library| library.is_probed()) {
                coverage.observed += 1;
                continue;
            }
            let refused = libraries.iter().filter_map(|library| match &library.state {
                State::Refused(reason, finding) => Some((*reason, &library.path, finding)),
                _ => None,
            });
            // A library that could have been observed says more than one that never can.
            let told = refused.min_by_key(|(reason, ..)| *reason == Reason::OtherLibrary);
            let (reason, file, finding) = match (told, &process.unreadable) {
                (Some((reason, file, finding)), _) => (reason, file.clone(), finding),
                (None, Some(finding)) => (Reason::Unreadable, String::new(), finding),
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
