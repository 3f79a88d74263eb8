//! Examines a process, or a file that may be a library.

use std::{
    collections::HashSet,
    mem,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

use super::{
    families::{self, Family},
    files::Files,
    found_file::{CryptoSource, FileClass, FoundFile},
    image,
    inspections::{Inspections, Subject},
    messages::{Disconnected, DiscoveryEvent},
    owner::Owner,
    process_maps::{self, Mapped, MappedFile},
    search::Search,
    spending::Spending,
    standard_dirs,
    table::{Process, Table},
    translators,
};
use crate::status::Reason;
use reprise_core::plan;

/// Maximum number of unknown files that are opened in one examination of a process; the others
/// follow in the next one.
const MAX_NEW_FILES: usize = 128;
/// Maximum number of library files of one process.
const MAX_FILES_PER_PROCESS: usize = 64;
/// Delay before a process is examined again because a library could not be classified yet.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The same because its owner must wait.
const PAUSE: Duration = Duration::from_secs(1);

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
    pub(super) ignored: Vec<PathBuf>,
    /// Paths of executables whose processes may map no probed file.
    excluded: Arc<[PathBuf]>,
    pub(super) files: Files,
    pub(super) table: Table,
    pub(super) inspections: Inspections,
    pub(super) spending: Spending,
    pub(super) retries: Retries,
    pub(super) search: Option<Search>,
    /// Owner of processes that use no library; their real owner is not read.
    nobody: Owner,
    pub(super) translated: HashSet<u32>,
}

impl Examiner {
    pub(super) fn new(
        events: Sender<DiscoveryEvent>,
        ignored: Vec<PathBuf>,
        excluded: Arc<[PathBuf]>,
        places: usize,
    ) -> Self {
        let mut inspections = Inspections::default();
        let root = inspections.run(Subject::StandardDirs, "/", standard_dirs::root_device);
        Self {
            events,
            ignored,
            excluded,
            files: Files::new(),
            table: Table::new(root.unwrap_or(0), places),
            inspections,
            spending: Spending::default(),
            retries: Retries::default(),
            search: None,
            nobody: Owner::nobody(),
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
        let inspect = || {
            let libraries = standard_dirs::libraries().into_iter();
            let images = libraries.map(|(path, shown)| (image::open(&path), path, shown));
            images
                .filter_map(|(image, path, shown)| Some((image.ok()?, path, shown)))
                .collect::<Vec<_>>()
        };
        let subject = Subject::StandardDirs;
        let Ok(libraries) = self
            .inspections
            .run(subject, "standard directories", inspect)
        else {
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
                translated: None,
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
        let begin = Instant::now();
        let excluded = Arc::clone(&self.excluded);
        let inspect = move || {
            let is_excluded = translators::is_excluded(pid, &excluded);
            process_maps::mapped(pid, is_excluded)
        };
        let problem = match self.inspections.run(subject, shown, inspect) {
            Ok(Ok(mapped)) => return self.examine_mapped(pid, code, &mapped, begin),
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

    /// Examines the files that a process maps, which were read from `begin` on.
    fn examine_mapped(
        &mut self,
        pid: u32,
        code: u64,
        mapped: &Mapped,
        begin: Instant,
    ) -> Result<(), Disconnected> {
        let reading = begin.elapsed();
        if self.table.is_outside(pid) && mapped.translator.is_none() {
            let process = Process::new(code, Vec::new(), self.nobody.clone());
            self.table.record_process(pid, process);
            return Ok(());
        }
        let mut owner = None;
        let mut files = Vec::new();
        let mut problem = None;
        let mut retry = None;
        let mut unknown = 0;
        for file in &mapped.files {
            let known = self.files.known(file.id);
            // A translator maps code as data.
            let is_data = !file.is_code && families::from_path(&file.path).is_none();
            if known == Some(None) || known.is_none() && is_data {
                continue;
            }
            if files.len() >= MAX_FILES_PER_PROCESS {
                let finding = format!("maps more than {MAX_FILES_PER_PROCESS} library files");
                problem = Some((Reason::TooManyLibraries, finding));
                break;
            }
            let group = &owner.get_or_insert_with(|| Owner::read(pid)).group;
            if known.is_none() {
                unknown += 1;
                let is_exhausted = self.spending.is_exhausted(group, Instant::now());
                if is_exhausted || unknown > MAX_NEW_FILES {
                    let delay = if is_exhausted { PAUSE } else { RETRY_DELAY };
                    retry = Some(delay);
                    break;
                }
            }
            let begin = Instant::now();
            match self.examine_file(file, mapped, group)? {
                FileClass::Library(id) if !files.contains(&id) => files.push(id),
                FileClass::Library(_) | FileClass::NotLibrary => {}
                FileClass::Undecided => retry = Some(RETRY_DELAY),
                FileClass::Problem(reason, finding) => problem = Some((reason, finding)),
            }
            if known.is_none() {
                let now = Instant::now();
                self.spending.add(group, now - begin, now);
            }
        }
        if let Some(delay) = retry {
            self.retries.processes.push((delay, pid));
        }
        let is_new = self.table.files_of(pid) != files;
        let owner = owner.unwrap_or_else(|| self.nobody.clone());
        let mut process = Process::new(if retry.is_none() { code } else { 0 }, files, owner);
        process.problem = problem;
        process.translator = mapped.translator;
        self.table.record_process(pid, process);
        if mapped.translator.is_some() {
            if is_new {
                self.leave_to_translators()?;
            }
            self.watch_translated(pid, reading);
        }
        Ok(())
    }

    fn examine_file(
        &mut self,
        file: &MappedFile,
        all: &Mapped,
        group: &Rc<str>,
    ) -> Result<FileClass, Disconnected> {
        if let Some(known) = self.files.known(file.id) {
            return Ok(known.map_or(FileClass::NotLibrary, FileClass::Library));
        }
        let family = families::from_path(&file.path);
        let subject = Subject::File(file.id);
        let shown = file.shown();
        let names = file.names();
        let opened = self.inspections.run(subject, &shown, move || {
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
            Err(error) => return Ok(FileClass::unanswered(&shown, &error)),
        };
        let found_file = FoundFile {
            subject,
            path: file.path.clone(),
            shown,
            group,
            mapped: Some(file),
            translated: all.translator.map(|name| (file.pid, name)),
        };
        let class = match family {
            Some(Family::Other(name)) => {
                let finding = format!("{name} does not derive from OpenSSL");
                self.reject(image, found_file, Reason::OtherLibrary, finding)
            }
            Some(Family::OpenSsl) => {
                let crypto = all
                    .files
                    .iter()
                    .filter(|file| families::is_crypto(&file.path));
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
}
