//! Examines a process, or a file that may be a library.

use std::{
    collections::HashSet,
    mem,
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};

use tokio::sync::mpsc::Sender;

use super::{
    alias,
    families::{self, Family},
    files::Files,
    image::{self, FileId, Image},
    lookup::crypto_of,
    messages::{Disconnected, DiscoveredLibrary, DiscoveryEvent},
    process_maps::{self, MappedFile},
    standard_dirs,
    table::{FileState, Table},
};
use crate::{errors::chain, status::Reason};
use reprise_core::plan::{self, Carrier, Plan, PlanError};

/// Classification of a file.
enum FileClass {
    /// The file is a library.
    Library(FileId),
    /// The file is no library as far as is known.
    NotLibrary,
    /// Unknown until pending probes are attached.
    Undecided,
}

/// Processes that must be examined again.
#[derive(Default)]
pub(super) struct Retries {
    pub(super) processes: Vec<u32>,
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
    retries: Retries,
}

impl Examiner {
    pub(super) fn new(events: Sender<DiscoveryEvent>, ignored: Vec<PathBuf>) -> Self {
        Self {
            events,
            ignored,
            files: Files::new(),
            table: Table::new(standard_dirs::root_device()),
            retries: Retries::default(),
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
        let mut present = HashSet::new();
        for (path, shown) in standard_dirs::libraries() {
            let Ok(image) = image::open(&path) else {
                continue;
            };
            present.insert(image.id);
            let crypto = |ssl: &Image| standard_dirs::crypto_beside(&path, ssl);
            self.classify(image, &shown, crypto, None)?;
        }
        self.table.set_standard_dirs(&present);
        Ok(())
    }

    /// Examines the libraries that a process maps, if its code has changed.
    pub(super) fn examine_process(&mut self, pid: u32) -> Result<(), Disconnected> {
        let Some(code) = process_maps::code_size(pid) else {
            self.table.remove_process(pid);
            return Ok(());
        };
        if self.table.code_of(pid) == Some(code) {
            return Ok(());
        }
        let mapped = match process_maps::mapped(pid) {
            Ok(mapped) => mapped,
            Err(error) => {
                let finding = format!("failed to read what it maps: {error}");
                self.table
                    .record_process(pid, code, Vec::new(), Some(finding));
                return Ok(());
            }
        };
        let mut files = Vec::new();
        let mut complete = true;
        for file in &mapped {
            match self.examine_file(file, &mapped)? {
                FileClass::Library(id) if !files.contains(&id) => files.push(id),
                FileClass::Library(_) | FileClass::NotLibrary => {}
                FileClass::Undecided => complete = false,
            }
        }
        let code = if complete { code } else { 0 };
        self.table.record_process(pid, code, files, None);
        if !complete {
            self.retries.processes.push(pid);
        }
        Ok(())
    }

    fn examine_file(
        &mut self,
        file: &MappedFile,
        all: &[MappedFile],
    ) -> Result<FileClass, Disconnected> {
        if let Some(known) = self.files.known(file.id) {
            return Ok(known.map_or(FileClass::NotLibrary, FileClass::Library));
        }
        // A file that is gone by now is examined again when another process maps it.
        let Ok(image) = image::open_first(&file.names()) else {
            return Ok(FileClass::NotLibrary);
        };
        let shown = file.path.display().to_string();
        let class = match families::from_path(&file.path) {
            Some(Family::Other(name)) => {
                let finding = format!("{name} has nothing of OpenSSL");
                self.reject(image.id, shown, Reason::OtherLibrary, finding)
            }
            Some(Family::OpenSsl) => {
                let crypto = |ssl: &Image| crypto_of(all, &file.path, ssl);
                self.classify(image, &shown, crypto, Some(file))?
            }
            None if plan::defines_tls(&image) => {
                self.classify(image, &shown, |_| None, Some(file))?
            }
            None => {
                self.files.insert(file.id, None);
                self.files.queue_search(file);
                return Ok(FileClass::NotLibrary);
            }
        };
        if let FileClass::Library(id) = class {
            self.files.insert(file.id, Some(id));
        }
        Ok(class)
    }

    /// Searches one queued file for a library without symbols.
    pub(super) fn search_next_file(&mut self) -> Result<(), Disconnected> {
        let Some(next) = self.files.next_unsearched() else {
            return Ok(());
        };
        let mapped = process_maps::mapped(next.pid).unwrap_or_default();
        let found = mapped.iter().find(|file| file.id == next.id);
        let opened = found.and_then(|file| Some((file, image::open_first(&file.names()).ok()?)));
        let Some((file, image)) = opened else {
            // The file is queued again when another process maps it.
            self.files.remove(next.id);
            return Ok(());
        };
        let shown = file.path.display().to_string();
        let (reason, finding) = match plan::by_text(&image) {
            None => return Ok(()),
            Some(Carrier::OpenSsl) => (None, ""),
            Some(Carrier::BoringSsl) => (
                Some(Reason::Boringssl),
                "has BoringSSL inside, without the names of its functions",
            ),
            Some(Carrier::Go) => (Some(Reason::OtherLibrary), "has Go's crypto/tls inside"),
            Some(Carrier::Rustls) => (Some(Reason::OtherLibrary), "has rustls inside"),
        };
        let class = match reason {
            None => self.classify(image, &shown, |_| None, Some(file))?,
            Some(reason) => self.reject(image.id, shown, reason, finding.to_owned()),
        };
        match class {
            FileClass::Library(id) => {
                self.files.insert(next.id, Some(id));
                self.table.invalidate();
                self.retries.all = true;
                self.examine_process(next.pid)?;
            }
            FileClass::NotLibrary => {}
            FileClass::Undecided => self.files.remove(next.id),
        }
        Ok(())
    }

    /// Plans an unknown library and sends it to the observing loop.
    fn classify(
        &mut self,
        ssl: Image,
        shown: &str,
        crypto: impl FnOnce(&Image) -> Option<Image>,
        mapped: Option<&MappedFile>,
    ) -> Result<FileClass, Disconnected> {
        let id = ssl.id;
        if self.table.contains(id) {
            return Ok(FileClass::Library(id));
        }
        let path = Path::new(shown);
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            let finding = "lies below a path that is ignored".to_owned();
            return Ok(self.reject(id, shown.to_owned(), Reason::Ignored, finding));
        }
        let crypto = crypto(&ssl);
        let planned = match self.files.plan(&ssl, crypto.as_ref()) {
            Ok(plan) => plan,
            Err(error) => {
                let finding = chain(error.as_ref());
                let reason = reason_for(&error);
                return self.send_library(ssl, crypto, shown, Err((reason, finding)));
            }
        };
        if planned.machine != std::env::consts::ARCH {
            let finding = format!("is code for {}", planned.machine);
            return self.send_library(ssl, crypto, shown, Err((Reason::ForeignMachine, finding)));
        }
        if let Some(mapped) = mapped {
            match self.table.same_file_candidate(id, &planned) {
                Some((_, FileState::Pending)) => return Ok(FileClass::Undecided),
                Some((other, _)) if alias::is_probed(mapped, &ssl, &planned) => {
                    let state = FileState::SameAs(other);
                    self.table
                        .add(id, shown.to_owned(), state, None, Instant::now());
                    return Ok(FileClass::Library(id));
                }
                _ => {}
            }
        }
        self.send_library(ssl, crypto, shown, Ok(planned))
    }

    /// Adds a library to the table and sends it to the observing loop.
    fn send_library(
        &mut self,
        ssl: Image,
        crypto: Option<Image>,
        shown: &str,
        planned: Result<Rc<Plan>, (Reason, String)>,
    ) -> Result<FileClass, Disconnected> {
        if self.table.is_full() {
            return Ok(FileClass::NotLibrary);
        }
        let (state, plan) = match &planned {
            Ok(plan) => (FileState::Pending, Some(Rc::clone(plan))),
            Err((reason, finding)) => (FileState::Rejected(*reason, finding.clone()), None),
        };
        let file = ssl.id;
        let id = self
            .table
            .add(file, shown.to_owned(), state, plan, Instant::now());
        self.send(DiscoveryEvent::Library(Box::new(DiscoveredLibrary {
            id,
            path: shown.to_owned(),
            ssl: ssl.file,
            crypto: crypto.map(|image| image.file),
            plan: planned
                .map(|plan| plan.as_ref().clone())
                .map_err(|(_, finding)| finding),
        })))?;
        Ok(FileClass::Library(file))
    }

    /// Adds a file that cannot or must not be observed to the table.
    fn reject(&mut self, id: FileId, shown: String, reason: Reason, finding: String) -> FileClass {
        if !self.table.contains(id) {
            if self.table.is_full() {
                return FileClass::NotLibrary;
            }
            let state = FileState::Rejected(reason, finding);
            self.table.add(id, shown, state, None, Instant::now());
        }
        FileClass::Library(id)
    }
}

/// The reason that is reported for a file without a plan.
const fn reason_for(error: &PlanError) -> Reason {
    match error {
        PlanError::BoringSsl => Reason::Boringssl,
        PlanError::Machine(_) => Reason::ForeignMachine,
        _ => Reason::UnsupportedBuild,
    }
}
