//! Searches queued files, one at a time.

use std::rc::Rc;

use super::{
    examine::Examiner,
    found_file::{CryptoSource, FileClass, FoundFile},
    inspections::Subject,
    messages::Disconnected,
    search::Search,
};
use crate::{errors::chain, status::Reason};
use reprise_core::plan::Carrier;

impl Examiner {
    /// Starts or continues the search of one queued file for a library without symbols. Returns
    /// whether a search is running.
    pub(super) fn search_next_file(&mut self) -> Result<bool, Disconnected> {
        let search = match self.search.take() {
            Some(search) => search,
            None => {
                let Some(next) = self.files.next_unsearched() else {
                    return Ok(false);
                };
                match Search::start(&mut self.inspections, next.id, next.pid, next.group) {
                    Ok(search) => search,
                    Err(_) => {
                        // The file is queued again when another process maps it.
                        self.files.remove(next.id);
                        return Ok(false);
                    }
                }
            }
        };
        let (id, pid, group) = (search.id, search.pid, Rc::clone(&search.group));
        let found = match search.poll(&mut self.inspections) {
            Ok(Ok(found)) => found,
            Ok(Err(running)) => {
                self.search = Some(running);
                return Ok(true);
            }
            Err(_) => None,
        };
        let Some(found) = found else {
            self.files.remove(id);
            return Ok(false);
        };
        let Some(image) = found.image else {
            return Ok(false);
        };
        let (reason, finding) = match found.carrier {
            Ok(None) => return Ok(false),
            Ok(Some(Carrier::OpenSsl)) => (None, String::new()),
            Ok(Some(Carrier::BoringSsl)) => (
                Some(Reason::Boringssl),
                "has BoringSSL inside, without the names of its functions".to_owned(),
            ),
            Ok(Some(Carrier::Go)) => (
                Some(Reason::OtherLibrary),
                "has Go's crypto/tls inside".to_owned(),
            ),
            Ok(Some(Carrier::Rustls)) => {
                (Some(Reason::OtherLibrary), "has rustls inside".to_owned())
            }
            Err(error) => (Some(Reason::TooMuchWork), chain(&error)),
        };
        let found_file = FoundFile {
            subject: Subject::File(id),
            path: found.file.path.clone(),
            shown: found.file.shown(),
            group: &group,
            mapped: Some(&found.file),
            translated: None,
        };
        let class = match reason {
            None => self.classify(image, found_file, CryptoSource::Inside)?,
            Some(reason) => self.reject(image, found_file, reason, finding),
        };
        match class {
            FileClass::Library(file) => {
                self.files.insert(id, Some(file));
                self.table.invalidate();
                self.retries.all = true;
                self.examine_process(pid)?;
            }
            FileClass::NotLibrary => {}
            FileClass::Undecided | FileClass::Problem(..) => self.files.remove(id),
        }
        Ok(false)
    }
}
