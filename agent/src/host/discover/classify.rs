//! Plans files, and decides whether they are observed.

use std::{path::Path, sync::Arc};

use super::{
    alias,
    examine::Examiner,
    files::Planned,
    found_file::{CryptoSource, FileClass, FoundFile},
    image::Image,
    lookup::crypto_of,
    messages::{Disconnected, DiscoveredLibrary, DiscoveryEvent},
    standard_dirs,
    table::FileState,
    translators,
};
use crate::{errors::chain, status::Reason};
use reprise_core::plan::{Plan, PlanError};

impl Examiner {
    /// Plans an unknown library and sends it to the observing loop.
    pub(super) fn classify(
        &mut self,
        ssl: Image,
        file: FoundFile<'_>,
        crypto: CryptoSource,
    ) -> Result<FileClass, Disconnected> {
        let id = ssl.id;
        if self.table.contains(id) {
            self.inspections.close(vec![ssl.file]);
            return Ok(FileClass::Library(id));
        }
        let path = Path::new(&file.shown);
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            let finding = "lies below a path that is ignored".to_owned();
            return Ok(self.reject(ssl, file, Reason::Ignored, finding));
        }
        let plans = self.files.plans.clone();
        let path = file.path.clone();
        let inspect = move || {
            let crypto = match crypto {
                CryptoSource::Mapped(mapped) => crypto_of(&mapped, &path, &ssl),
                CryptoSource::Beside => standard_dirs::crypto_beside(&path, &ssl),
                CryptoSource::Inside => None,
            };
            ssl.limit_cpu_time();
            let planned = plans.plan(&ssl, crypto.as_ref());
            (ssl, crypto, planned)
        };
        let (ssl, crypto, planned) = match self.inspections.run(file.subject, &file.shown, inspect)
        {
            Ok(planned) => planned,
            Err(error) => return Ok(FileClass::unanswered(&file.shown, &error)),
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
                self.close(ssl, crypto);
                Ok(FileClass::Undecided)
            }
            Some((other, _)) => {
                let (mapped, of) = (mapped.clone(), Arc::clone(&plan));
                let inspect = move || (alias::is_probed(&mapped, &ssl, &of), ssl);
                let (is_probed, ssl) =
                    match self.inspections.run(file.subject, &file.shown, inspect) {
                        Ok(answer) => answer,
                        Err(error) => return Ok(FileClass::unanswered(&file.shown, &error)),
                    };
                if !is_probed {
                    return self.send_library(ssl, crypto, &file, Ok(plan));
                }
                let at_rest = ssl.is_at_rest;
                self.close(ssl, crypto);
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
            self.close(ssl, crypto);
            return Ok(FileClass::too_many_files());
        }
        let planned = planned.and_then(|plan| {
            // The file was unknown, so nobody else uses it.
            if let Some(translated) = file.translated {
                return Err((
                    translators::reason(translated),
                    translators::finding(translated),
                ));
            }
            if self.table.has_free_place() {
                return Ok(plan);
            }
            let places = self.table.places();
            let finding = format!("all {places} places for observed library files are taken");
            Err((Reason::TooManyLibraries, finding))
        });
        let (state, plan) = match &planned {
            Ok(plan) => (FileState::Pending, Some(Arc::clone(plan))),
            Err((
                reason @ (Reason::TooManyLibraries | Reason::Translated | Reason::Ignored),
                finding,
            )) => (FileState::Waiting(*reason, finding.clone()), None),
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
            plan: planned.map(|plan| plan.as_ref().clone()),
        })))?;
        Ok(FileClass::Library(ssl.id))
    }

    fn close(&mut self, ssl: Image, crypto: Option<Image>) {
        let files = crypto.into_iter().chain([ssl]).map(|image| image.file);
        self.inspections.close(files.collect());
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
        self.inspections.close(vec![image.file]);
        if !self.table.contains(id) {
            if self.table.is_full(file.group) {
                return FileClass::too_many_files();
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
