//! What is done with a process, and with a file that may be a library.

use std::{collections::HashSet, path::Path, rc::Rc, time::Instant};

use super::{
    Found, Library, alias,
    families::{self, Family},
    image::{self, FileId, Image},
    lookup::crypto_of,
    maps::{self, Mapped},
    rest,
    schedule::{Discovery, Gone},
    table::State,
};
use crate::status::Reason;
use reprise_core::plan::{self, Carrier, Plan, PlanError};

/// What a file is.
enum Judged {
    /// A library.
    Library(FileId),
    /// None, as far as is known now.
    None,
    /// Cannot be told before probes that are on their way are in place.
    Later,
}

impl Discovery {
    /// Libraries in the usual directories.
    pub(super) fn look_at_rest(&mut self) -> Result<(), Gone> {
        let mut resting = HashSet::new();
        for (path, shown) in rest::libraries() {
            let Ok(image) = image::open(&path) else {
                continue;
            };
            resting.insert(image.id);
            self.judge(image, &shown, |ssl| rest::crypto_beside(&path, ssl), None)?;
        }
        self.table.rest(&resting);
        Ok(())
    }

    /// Libraries that a process maps, if its code changed since the last look.
    pub(super) fn look_at(&mut self, pid: u32) -> Result<(), Gone> {
        let Some(code) = maps::code_size(pid) else {
            self.table.forget(pid);
            return Ok(());
        };
        if self.table.code_of(pid) == Some(code) {
            return Ok(());
        }
        let mapped = match maps::mapped(pid) {
            Ok(mapped) => mapped,
            Err(error) => {
                let finding = format!("failed to read what it maps: {error}");
                self.table.saw(pid, code, Vec::new(), Some(finding));
                return Ok(());
            }
        };
        let mut files = Vec::new();
        let mut judged_all = true;
        for file in &mapped {
            match self.look_at_file(file, &mapped)? {
                Judged::Library(id) if !files.contains(&id) => files.push(id),
                Judged::Library(_) | Judged::None => {}
                Judged::Later => judged_all = false,
            }
        }
        let code = if judged_all { code } else { 0 };
        self.table.saw(pid, code, files, None);
        if !judged_all {
            self.again(pid);
        }
        Ok(())
    }

    fn look_at_file(&mut self, file: &Mapped, all: &[Mapped]) -> Result<Judged, Gone> {
        if let Some(known) = self.files.known(file.id) {
            return Ok(known.map_or(Judged::None, Judged::Library));
        }
        // One that went away between the look and the opening comes back with its next user.
        let Ok(image) = image::open_first(&file.names()) else {
            return Ok(Judged::None);
        };
        let shown = file.path.display().to_string();
        let judged = match families::of(&file.path) {
            Some(Family::Other(name)) => {
                let finding = format!("{name} has nothing of OpenSSL");
                self.refuse(image.id, shown, Reason::OtherLibrary, finding)
            }
            Some(Family::OpenSsl) => {
                let crypto = |ssl: &Image| crypto_of(all, &file.path, ssl);
                self.judge(image, &shown, crypto, Some(file))?
            }
            None if plan::defines_tls(&image) => self.judge(image, &shown, |_| None, Some(file))?,
            None => {
                self.files.learn(file.id, None);
                self.files.look_into(file);
                return Ok(Judged::None);
            }
        };
        if let Judged::Library(id) = judged {
            self.files.learn(file.id, Some(id));
        }
        Ok(judged)
    }

    /// Looks into one file for a library that has no names.
    pub(super) fn look_inside(&mut self) -> Result<(), Gone> {
        let Some(next) = self.files.next_unsearched() else {
            return Ok(());
        };
        let mapped = maps::mapped(next.pid).unwrap_or_default();
        let found = mapped.iter().find(|file| file.id == next.id);
        let opened = found.and_then(|file| Some((file, image::open_first(&file.names()).ok()?)));
        let Some((file, image)) = opened else {
            // The next process that maps it brings it back.
            self.files.unlearn(next.id);
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
        let judged = match reason {
            None => self.judge(image, &shown, |_| None, Some(file))?,
            Some(reason) => self.refuse(image.id, shown, reason, finding.to_owned()),
        };
        match judged {
            Judged::Library(id) => {
                self.files.learn(next.id, Some(id));
                self.all_again();
                self.look_at(next.pid)?;
            }
            Judged::None => {}
            Judged::Later => self.files.unlearn(next.id),
        }
        Ok(())
    }

    /// Plans a library that was not known before and hands it over.
    fn judge(
        &mut self,
        ssl: Image,
        shown: &str,
        crypto: impl FnOnce(&Image) -> Option<Image>,
        mapped: Option<&Mapped>,
    ) -> Result<Judged, Gone> {
        let id = ssl.id;
        if self.table.knows(id) {
            return Ok(Judged::Library(id));
        }
        let path = Path::new(shown);
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            let finding = "lies below a path that is ignored".to_owned();
            return Ok(self.refuse(id, shown.to_owned(), Reason::Ignored, finding));
        }
        let crypto = crypto(&ssl);
        let planned = match self.files.plan(&ssl, crypto.as_ref()) {
            Ok(plan) => plan,
            Err(no_plan) => {
                let finding = crate::chain(no_plan.as_ref());
                let reason = reason(&no_plan);
                return self.hand_over(ssl, crypto, shown, Err((reason, finding)));
            }
        };
        if planned.machine != std::env::consts::ARCH {
            let finding = format!("is code for {}", planned.machine);
            return self.hand_over(ssl, crypto, shown, Err((Reason::ForeignMachine, finding)));
        }
        if let Some(mapped) = mapped {
            match self.table.twin(id, &planned) {
                Some((_, State::Waiting)) => return Ok(Judged::Later),
                Some((twin, _)) if alias::is_probed(mapped, &ssl, &planned) => {
                    let state = State::Same(twin);
                    self.table
                        .add(id, shown.to_owned(), state, None, Instant::now());
                    return Ok(Judged::Library(id));
                }
                _ => {}
            }
        }
        self.hand_over(ssl, crypto, shown, Ok(planned))
    }

    /// Enters a file that was judged and tells the observing loop.
    fn hand_over(
        &mut self,
        ssl: Image,
        crypto: Option<Image>,
        shown: &str,
        judged: Result<Rc<Plan>, (Reason, String)>,
    ) -> Result<Judged, Gone> {
        if self.table.is_full() {
            return Ok(Judged::None);
        }
        let (state, plan) = match &judged {
            Ok(plan) => (State::Waiting, Some(Rc::clone(plan))),
            Err((reason, finding)) => (State::Refused(*reason, finding.clone()), None),
        };
        let id = ssl.id;
        let key = self
            .table
            .add(id, shown.to_owned(), state, plan, Instant::now());
        self.tell(Found::Library(Box::new(Library {
            key,
            path: shown.to_owned(),
            ssl: ssl.file,
            crypto: crypto.map(|image| image.file),
            plan: judged
                .map(|plan| plan.as_ref().clone())
                .map_err(|(_, finding)| finding),
        })))?;
        Ok(Judged::Library(id))
    }

    /// Enters a file that is a library of another kind, or not to be touched.
    fn refuse(&mut self, id: FileId, shown: String, reason: Reason, finding: String) -> Judged {
        if !self.table.knows(id) {
            if self.table.is_full() {
                return Judged::None;
            }
            let state = State::Refused(reason, finding);
            self.table.add(id, shown, state, None, Instant::now());
        }
        Judged::Library(id)
    }
}

/// What an operator is told of a file without a plan.
const fn reason(no_plan: &PlanError) -> Reason {
    match no_plan {
        PlanError::BoringSsl => Reason::Boringssl,
        PlanError::Machine(_) => Reason::ForeignMachine,
        _ => Reason::UnsupportedBuild,
    }
}
