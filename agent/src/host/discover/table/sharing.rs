//! Which files have a place, and which lose it.

use std::{
    collections::{HashMap, HashSet},
    mem,
    rc::Rc,
};

use super::{FileState, LibraryEntry, MAX_FILES, Process, Table};
use crate::{
    host::discover::{
        image::FileId,
        owner::Owner,
        places::{self, Candidate, Changes},
        translators::{self, Translated},
    },
    status::{LibraryId, Reason},
};

/// Maximum number of files that only the processes of one group of owners use.
pub(super) const MAX_FILES_PER_GROUP: usize = MAX_FILES / 4;
/// Maximum number of processes that are checked for listening sockets at one time.
const MAX_LISTENING_CHECKS: usize = 64;

/// A file that is discovered again.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::host::discover) struct Retried {
    pub(in crate::host::discover) id: LibraryId,
    /// The file and its other names.
    pub(in crate::host::discover) files: HashSet<FileId>,
    pub(in crate::host::discover) users: Vec<u32>,
}

impl Table {
    /// Whether no further file of a group of owners is accepted; counts the file otherwise.
    pub(in crate::host::discover) fn is_full(&mut self, group: &Rc<str>) -> bool {
        let count = self.per_group.entry(Rc::clone(group)).or_default();
        let is_full = self.files.len() >= MAX_FILES || *count >= MAX_FILES_PER_GROUP;
        if !is_full {
            *count += 1;
        }
        is_full
    }

    /// A process under a translator because of which the file is not probed, with the translator's
    /// name: a process of root, or of the only user of the file, or one that the operator excludes.
    /// Otherwise any user could end the observation of others.
    pub(in crate::host::discover) fn translated_by(&self, file: FileId) -> Option<Translated> {
        let mut translated = self.users(file).filter_map(|(pid, process)| {
            let translator = process.translator?;
            Some((pid, translator, process.owner.uid))
        });
        let is_left_to = |uid: u32| {
            let mut users = self.users(file);
            uid == 0 || users.all(|(_, process)| process.owner.uid == uid)
        };
        translated
            .find(|(_, translator, uid)| *translator == translators::EXCLUDED || is_left_to(*uid))
            .map(|(pid, translator, _)| (pid, translator))
    }

    /// The file with the probes of a file: another one if it is another name.
    fn original(&self, file: FileId) -> FileId {
        match self.files.get(&file).map(|library| &library.state) {
            Some(FileState::SameAs(other)) => *other,
            _ => file,
        }
    }

    /// Processes that map a file, by any of its names.
    fn users(&self, file: FileId) -> impl Iterator<Item = (u32, &Process)> {
        let processes = self.processes.iter();
        processes
            .map(|(pid, process)| (*pid, process))
            .filter(move |(_, process)| {
                let mut files = process.files.iter();
                files.any(|other| *other == file || self.original(*other) == file)
            })
    }

    /// Observed files that must be detached because of a translator, with its process.
    pub(in crate::host::discover) fn translated(&self) -> Vec<(FileId, Translated)> {
        let processes = self.processes.values();
        let translated: HashSet<FileId> = processes
            .filter(|process| process.translator.is_some())
            .flat_map(|process| &process.files)
            .map(|file| self.original(*file))
            .collect();
        let probed = translated.into_iter().filter(|file| {
            let library = self.files.get(file);
            library.is_some_and(LibraryEntry::is_probed)
        });
        probed
            .filter_map(|file| Some((file, self.translated_by(file)?)))
            .collect()
    }

    /// Stops the observation of a file for now; returns the ID of the library to detach.
    pub(in crate::host::discover) fn evict(
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
        Some(mem::replace(&mut library.id, new))
    }

    /// Removes a waiting file and its other names so that they are discovered again; returns its
    /// ID, the removed files, and their users, which must be examined.
    pub(in crate::host::discover) fn retry(&mut self, file: FileId) -> Option<Retried> {
        let library = self.files.remove(&file)?;
        let mut removed = HashSet::from([file]);
        self.files.retain(|other, library| {
            let is_name = library.state == FileState::SameAs(file);
            if is_name {
                removed.insert(*other);
            }
            !is_name
        });
        let mut users = Vec::new();
        for (pid, process) in &mut self.processes {
            if process.files.iter().any(|file| removed.contains(file)) {
                process.code = 0;
                users.push(*pid);
            }
        }
        Some(Retried {
            id: library.id,
            files: removed,
            users,
        })
    }

    /// Chooses which waiting files get a place, and which files lose theirs. `listens` says whether
    /// a process has a listening socket.
    pub(in crate::host::discover) fn share_places(
        &mut self,
        listens: impl FnMut(u32) -> Option<bool>,
    ) -> Changes {
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
                users.entry(self.original(*file)).or_default().push(process);
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
    pub(in crate::host::discover) fn count_groups(&mut self) {
        if self.files.len() < MAX_FILES_PER_GROUP {
            self.per_group.clear();
            return;
        }
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
}
