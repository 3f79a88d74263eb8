//! Examines a process, or a file that may be a library.

use std::{
    collections::HashSet,
    mem,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

use super::{
    alias,
    families::{self, Family},
    files::{Files, Planned},
    image::{self, FileId, Image},
    looks::{Looks, NoAnswer, Subject},
    lookup::crypto_of,
    messages::{Disconnected, DiscoveredLibrary, DiscoveryEvent},
    owner::Owner,
    process_maps::{self, Mapped, MappedFile},
    search::Search,
    spending::Spending,
    standard_dirs,
    table::{FileState, Process, Table},
};
use crate::{errors::chain, status::Reason};
use reprise_core::plan::{self, Plan, PlanError};

/// Maximum number of unknown files that are opened in one examination of a process; the others
/// follow in the next one.
const MAX_NEW_FILES: usize = 128;
/// Maximum number of library files of one process.
const MAX_FILES_PER_PROCESS: usize = 64;
/// Delay before a process is examined again because a library could not be classified yet.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Classification of a file.
pub(super) enum FileClass {
    /// The file is a library.
    Library(FileId),
    /// The file is no library as far as is known.
    NotLibrary,
    /// Unknown until pending probes are attached, or until the owner may spend more time.
    Undecided,
    /// The file cannot be read, or is not accepted.
    Problem(Reason, String),
}

/// Where to find the crypto library of a library.
pub(super) enum CryptoSource {
    /// Among the files that a process maps.
    Mapped(Vec<MappedFile>),
    /// In the directory of the library.
    Beside,
    /// The library contains it.
    Inside,
}

/// A file to classify.
pub(super) struct FoundFile<'a> {
    pub(super) subject: Subject,
    pub(super) path: PathBuf,
    pub(super) shown: String,
    pub(super) group: &'a Rc<str>,
    pub(super) mapped: Option<&'a MappedFile>,
}

/// Processes that must be examined again.
#[derive(Default)]
pub(super) struct Retries {
    /// Delay and ID of each process.
    pub(super) processes: Vec<(Duration, u32)>,
    /// All processes must be examined again.
    pub(super) all: bool,
}

/// Examines processes and files, and sends the libraries that it discovers.
pub(super) struct Examiner {
    events: Sender<DiscoveryEvent>,
    /// Paths below which no library is probed.
    ignored: Vec<PathBuf>,
    pub(super) files: Files,
    pub(super) table: Table,
    pub(super) looks: Looks,
    pub(super) spending: Spending,
    pub(super) retries: Retries,
    pub(super) search: Option<Search>,
    pub(super) translated: HashSet<u32>,
}

impl Examiner {
    pub(super) fn new(
        events: Sender<DiscoveryEvent>,
        ignored: Vec<PathBuf>,
        places: usize,
    ) -> Self {
        let mut looks = Looks::default();
        let root = looks.run(Subject::StandardDirs, "/", standard_dirs::root_device);
        Self {
            events,
            ignored,
            files: Files::new(),
            table: Table::new(root.unwrap_or(0), places),
            looks,
            spending: Spending::default(),
            retries: Retries::default(),
            search: None,
            translated: HashSet::new(),
        }
    }

    /// Sends an event to the observing loop.
    pub(super) fn send(&self, event: DiscoveryEvent) -> Result<(), Disconnected> {
        self.events.blocking_send(event).map_err(|_| Disconnected)
    }

    /// Returns and clears the processes that must be examined again.
    pub(super) fn take_retries(&mut self) -> Retries {
        mem::take(&mut self.retries)
    }

    /// Examines the libraries in the standard directories.
    pub(super) fn examine_standard_dirs(&mut self) -> Result<(), Disconnected> {
        let look = || {
            let libraries = standard_dirs::libraries().into_iter();
            let images = libraries.map(|(path, shown)| (image::open(&path), path, shown));
            images
                .filter_map(|(image, path, shown)| Some((image.ok()?, path, shown)))
                .collect::<Vec<_>>()
        };
        let subject = Subject::StandardDirs;
        let Ok(libraries) = self.looks.run(subject, "standard directories", look) else {
            return Ok(());
        };
        let mut present = HashSet::new();
        let group: Rc<str> = "".into();
        for (image, path, shown) in libraries {
            present.insert(image.id);
            let file = FoundFile {
                subject,
                path,
                shown,
                group: &group,
                mapped: None,
            };
            self.classify(image, file, CryptoSource::Beside)?;
        }
        self.table.set_standard_dirs(&present);
        Ok(())
    }

    /// Examines the libraries that a process maps, if its code has changed.
    pub(super) fn examine_process(&mut self, pid: u32) -> Result<(), Disconnected> {
        let Some(code) = process_maps::code_size(pid) else {
            self.table.remove_process(pid);
            self.translated.remove(&pid);
            return Ok(());
        };
        let is_translated = self.table.is_translated(pid);
        if self.table.code_of(pid) == Some(code) && !is_translated {
            return Ok(());
        }
        let subject = Subject::Process(pid);
        let shown = format!("mappings of process {pid}");
        let problem = match self
            .looks
            .run(subject, shown, move || process_maps::mapped(pid))
        {
            Ok(Ok(mapped)) => return self.examine_mapped(pid, code, &mapped),
            Ok(Err(error)) => (
                Reason::Unreadable,
                format!("failed to read what it maps: {error}"),
            ),
            Err(error) => (
                Reason::Unresponsive,
                format!("the list of what it maps {error}"),
            ),
        };
        self.table.record_problem(pid, code, problem);
        Ok(())
    }

    fn examine_mapped(&mut self, pid: u32, code: u64, mapped: &Mapped) -> Result<(), Disconnected> {
        let owner = Owner::read(pid);
        let mut files = Vec::new();
        let mut problem = None;
        let mut complete = true;
        let mut unknown = 0;
        for file in &mapped.files {
            let is_known = self.files.known(file.id).is_some();
            // A translator maps code as data.
            if !is_known && !file.is_code && families::from_path(&file.path).is_none() {
                continue;
            }
            if files.len() >= MAX_FILES_PER_PROCESS {
                let finding = format!("maps more than {MAX_FILES_PER_PROCESS} library files");
                problem = Some((Reason::TooManyLibraries, finding));
                break;
            }
            let begin = Instant::now();
            if !is_known {
                unknown += 1;
                if unknown > MAX_NEW_FILES || self.spending.is_exhausted(&owner.group, begin) {
                    complete = false;
                    continue;
                }
            }
            match self.examine_file(file, &mapped.files, &owner.group)? {
                FileClass::Library(id) if !files.contains(&id) => files.push(id),
                FileClass::Library(_) | FileClass::NotLibrary => {}
                FileClass::Undecided => complete = false,
                FileClass::Problem(reason, finding) => problem = Some((reason, finding)),
            }
            if !is_known {
                let now = Instant::now();
                self.spending.add(&owner.group, now - begin, now);
            }
        }
        let code = if complete { code } else { 0 };
        let mut process = Process::new(code, files, owner);
        process.problem = problem;
        process.translator = mapped.translator;
        self.table.record_process(pid, process);
        if !complete {
            self.retries.processes.push((RETRY_DELAY, pid));
        }
        if mapped.translator.is_some() {
            self.leave_to_translator(pid)?;
        }
        Ok(())
    }

    fn examine_file(
        &mut self,
        file: &MappedFile,
        all: &[MappedFile],
        group: &Rc<str>,
    ) -> Result<FileClass, Disconnected> {
        if let Some(known) = self.files.known(file.id) {
            return Ok(known.map_or(FileClass::NotLibrary, FileClass::Library));
        }
        let family = families::from_path(&file.path);
        let subject = Subject::File(file.id);
        let shown = file.path.display().to_string();
        let names = file.names();
        let opened = self.looks.run(subject, &shown, move || {
            let image = image::open_first(&names).ok()?;
            image.limit_cpu_time();
            let is_library = family.is_some() || plan::defines_tls(&image);
            Some(is_library.then_some(image))
        });
        let image = match opened {
            Ok(Some(Some(image))) => image,
            Ok(Some(None)) => {
                self.files.insert(file.id, None);
                self.files.queue_search(file, group);
                return Ok(FileClass::NotLibrary);
            }
            // A file that is gone by now is examined again when another process maps it.
            Ok(None) => return Ok(FileClass::NotLibrary),
            Err(error) => return Ok(unanswered(&shown, &error)),
        };
        let found_file = FoundFile {
            subject,
            path: file.path.clone(),
            shown,
            group,
            mapped: Some(file),
        };
        let class = match family {
            Some(Family::Other(name)) => {
                let finding = format!("{name} has nothing of OpenSSL");
                self.reject(image, found_file, Reason::OtherLibrary, finding)
            }
            Some(Family::OpenSsl) => {
                let crypto = all.iter().filter(|file| families::is_crypto(&file.path));
                let crypto = CryptoSource::Mapped(crypto.cloned().collect());
                self.classify(image, found_file, crypto)?
            }
            None => self.classify(image, found_file, CryptoSource::Inside)?,
        };
        if let FileClass::Library(id) = class {
            self.files.insert(file.id, Some(id));
        }
        Ok(class)
    }

    /// Plans an unknown library and sends it to the observing loop.
    pub(super) fn classify(
        &mut self,
        ssl: Image,
        file: FoundFile<'_>,
        crypto: CryptoSource,
    ) -> Result<FileClass, Disconnected> {
        let id = ssl.id;
        if self.table.contains(id) {
            self.looks.close(vec![ssl.file]);
            return Ok(FileClass::Library(id));
        }
        let path = Path::new(&file.shown);
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            let finding = "lies below a path that is ignored".to_owned();
            return Ok(self.reject(ssl, file, Reason::Ignored, finding));
        }
        let plans = self.files.plans.clone();
        let path = file.path.clone();
        let look = move || {
            let crypto = match crypto {
                CryptoSource::Mapped(mapped) => crypto_of(&mapped, &path, &ssl),
                CryptoSource::Beside => standard_dirs::crypto_beside(&path, &ssl),
                CryptoSource::Inside => None,
            };
            ssl.limit_cpu_time();
            let planned = plans.plan(&ssl, crypto.as_ref());
            (ssl, crypto, planned)
        };
        let (ssl, crypto, planned) = match self.looks.run(file.subject, &file.shown, look) {
            Ok(planned) => planned,
            Err(error) => return Ok(unanswered(&file.shown, &error)),
        };
        let plan = match usable(planned) {
            Ok(plan) => plan,
            Err(refused) => return self.send_library(ssl, crypto, &file, Err(refused)),
        };
        let Some(mapped) = file.mapped else {
            return self.send_library(ssl, crypto, &file, Ok(plan));
        };
        match self.table.same_file_candidate(id, &plan) {
            Some((_, FileState::Pending)) => {
                self.looks.close(vec![ssl.file]);
                return Ok(FileClass::Undecided);
            }
            Some((other, _)) => {
                let (mapped, of) = (mapped.clone(), Arc::clone(&plan));
                let look = move || (alias::is_probed(&mapped, &ssl, &of), ssl);
                let (is_probed, ssl) = match self.looks.run(file.subject, &file.shown, look) {
                    Ok(answer) => answer,
                    Err(error) => return Ok(unanswered(&file.shown, &error)),
                };
                if !is_probed {
                    return self.send_library(ssl, crypto, &file, Ok(plan));
                }
                let at_rest = ssl.is_at_rest;
                self.looks.close(vec![ssl.file]);
                let state = FileState::SameAs(other);
                self.table.add(id, file.shown, state, None, at_rest);
                Ok(FileClass::Library(id))
            }
            None => self.send_library(ssl, crypto, &file, Ok(plan)),
        }
    }

    /// Adds a library to the table and sends it to the observing loop.
    fn send_library(
        &mut self,
        ssl: Image,
        crypto: Option<Image>,
        file: &FoundFile<'_>,
        planned: Result<Arc<Plan>, (Reason, String)>,
    ) -> Result<FileClass, Disconnected> {
        if self.table.is_full(file.group) {
            self.looks.close(vec![ssl.file]);
            return Ok(too_many_files());
        }
        let planned = planned.and_then(|plan| {
            if self.table.has_free_place() {
                return Ok(plan);
            }
            let places = self.table.places();
            let finding = format!("all {places} places for observed library files are taken");
            Err((Reason::TooManyLibraries, finding))
        });
        let (state, plan) = match &planned {
            Ok(plan) => (FileState::Pending, Some(Arc::clone(plan))),
            Err((reason @ Reason::TooManyLibraries, finding)) => {
                (FileState::Waiting(*reason, finding.clone()), None)
            }
            Err((reason, finding)) => (FileState::Rejected(*reason, finding.clone()), None),
        };
        let id = self
            .table
            .add(ssl.id, file.shown.clone(), state, plan, ssl.is_at_rest);
        self.send(DiscoveryEvent::Library(Box::new(DiscoveredLibrary {
            id,
            path: file.shown.clone(),
            ssl: ssl.file,
            crypto: crypto.map(|image| image.file),
            plan: planned
                .map(|plan| plan.as_ref().clone())
                .map_err(|(_, finding)| finding),
        })))?;
        Ok(FileClass::Library(ssl.id))
    }

    /// Adds a file that cannot or must not be observed to the table.
    pub(super) fn reject(
        &mut self,
        image: Image,
        file: FoundFile<'_>,
        reason: Reason,
        finding: String,
    ) -> FileClass {
        let (id, at_rest) = (image.id, image.is_at_rest);
        self.looks.close(vec![image.file]);
        if !self.table.contains(id) {
            if self.table.is_full(file.group) {
                return too_many_files();
            }
            let state = FileState::Rejected(reason, finding);
            self.table.add(id, file.shown, state, None, at_rest);
        }
        FileClass::Library(id)
    }
}

/// The plan, unless it is missing or for another machine.
fn usable(planned: Planned) -> Result<Arc<Plan>, (Reason, String)> {
    let plan = planned.map_err(|error| (reason_for(&error), chain(error.as_ref())))?;
    if plan.machine == std::env::consts::ARCH {
        return Ok(plan);
    }
    let finding = format!("is code for {}", plan.machine);
    Err((Reason::ForeignMachine, finding))
}

fn unanswered(shown: &str, error: &NoAnswer) -> FileClass {
    FileClass::Problem(Reason::Unresponsive, format!("{shown} {error}"))
}

fn too_many_files() -> FileClass {
    let finding = "too many library files are in use".to_owned();
    FileClass::Problem(Reason::TooManyLibraries, finding)
}

/// The reason that is reported for a file without a plan.
const fn reason_for(error: &PlanError) -> Reason {
    match error {
        PlanError::BoringSsl => Reason::Boringssl,
        PlanError::Machine(_) => Reason::ForeignMachine,
        PlanError::TooMuchWork | PlanError::TooMuchTime | PlanError::TooManySegments { .. } => {
            Reason::TooMuchWork
        }
        _ => Reason::UnsupportedBuild,
    }
}
