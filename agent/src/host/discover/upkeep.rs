//! Decides which of the known libraries are observed: gives free places to waiting ones, leaves
//! those alone that a translator maps, and examines again what did not answer.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    examine::Examiner,
    listening,
    looks::Subject,
    messages::{Disconnected, DiscoveryEvent, Removal},
};
use crate::status::Reason;

/// Interval at which processes under a translator are examined, and how many are.
const TRANSLATED_INTERVAL: Duration = Duration::from_millis(50);
const MAX_TRANSLATED: usize = 32;

impl Examiner {
    /// Detaches files that a process under a translator maps, and watches the process for more.
    pub(super) fn leave_to_translator(&mut self, pid: u32) -> Result<(), Disconnected> {
        for (file, finding) in self.table.translated() {
            if let Some(id) = self.table.evict(file, Reason::Translated, finding) {
                self.send(DiscoveryEvent::Removed(id, Removal::Translated))?;
            }
        }
        if self.translated.contains(&pid) || self.translated.len() < MAX_TRANSLATED {
            self.translated.insert(pid);
            self.retries.processes.push((TRANSLATED_INTERVAL, pid));
        }
        Ok(())
    }

    /// Gives free places to waiting files, and takes places of owners that have more than others.
    pub(super) fn share_places(&mut self) -> Result<(), Disconnected> {
        let Self { table, looks, .. } = self;
        let changes = table.share_places(|pid| {
            let shown = format!("sockets of process {pid}");
            let look = move || listening::listens(pid);
            looks.run(Subject::Process(pid), shown, look).ok()
        });
        for file in changes.evicted {
            let finding = "its place was given to a file of another owner".to_owned();
            if let Some(id) = self.table.evict(file, Reason::TooManyLibraries, finding) {
                self.send(DiscoveryEvent::Removed(id, Removal::Displaced))?;
            }
        }
        let mut users = HashSet::new();
        for file in changes.admitted {
            if let Some((id, processes)) = self.table.retry(file) {
                self.files.remove_files(|other| other == file);
                self.send(DiscoveryEvent::Removed(id, Removal::Retried))?;
                users.extend(processes);
                // A library in a standard directory may have no user.
                self.retries.all = true;
            }
        }
        for pid in users {
            self.examine_process(pid)?;
        }
        Ok(())
    }

    /// Examines everything again that did not answer and may answer now.
    pub(super) fn unblock(&mut self, now: Instant) {
        self.spending.forget(now);
        self.table.count_groups();
        if self.looks.unblock(now) {
            self.table.invalidate();
            self.retries.all = true;
        }
    }
}
