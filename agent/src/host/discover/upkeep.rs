//! Decides which of the known libraries are observed: assigns free places to waiting libraries,
//! detaches from those that a translator maps, and examines again what did not answer.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    examine::Examiner,
    inspections::Subject,
    listening,
    messages::{Disconnected, DiscoveryEvent, Removal},
    translators,
};
use crate::status::Reason;

/// Interval at which processes under a translator are examined, and how many are.
const TRANSLATED_INTERVAL: Duration = Duration::from_millis(50);
const MAX_TRANSLATED: usize = 32;
/// Reading the mappings of such a process is followed by a pause of this many times its duration.
const TRANSLATED_PAUSE_FACTOR: u32 = 50;

impl Examiner {
    /// Detaches files that processes under a translator map.
    pub(super) fn leave_to_translators(&mut self) -> Result<(), Disconnected> {
        for (file, translated) in self.table.translated() {
            let reason = translators::reason(translated);
            let finding = translators::finding(translated);
            if let Some(id) = self.table.evict(file, reason, finding) {
                let removal = match reason {
                    Reason::Ignored => Removal::Excluded,
                    _ => Removal::Translated,
                };
                self.send(DiscoveryEvent::Removed(id, removal))?;
            }
        }
        Ok(())
    }

    /// Watches a process under a translator for further files; `reading` is the time that reading
    /// its mappings took.
    pub(super) fn watch_translated(&mut self, pid: u32, reading: Duration) {
        if self.translated.contains(&pid) || self.translated.len() < MAX_TRANSLATED {
            self.translated.insert(pid);
            let delay = TRANSLATED_INTERVAL.max(reading * TRANSLATED_PAUSE_FACTOR);
            self.retries.processes.push((delay, pid));
        }
    }

    /// Gives free places to waiting files, and takes places of owners that have more than others.
    pub(super) fn share_places(&mut self) -> Result<(), Disconnected> {
        self.leave_to_translators()?;
        let Self {
            table, inspections, ..
        } = self;
        let changes = table.share_places(|pid| {
            let shown = format!("sockets of process {pid}");
            let inspect = move || listening::listens(pid);
            inspections.run(Subject::Process(pid), shown, inspect).ok()
        });
        for file in changes.evicted {
            let finding = "its place was given to a file of another owner".to_owned();
            if let Some(id) = self.table.evict(file, Reason::TooManyLibraries, finding) {
                self.send(DiscoveryEvent::Removed(id, Removal::Displaced))?;
            }
        }
        let mut users = HashSet::new();
        for file in changes.admitted {
            if let Some(retried) = self.table.retry(file) {
                self.files
                    .remove_files(|other| retried.files.contains(&other));
                self.send(DiscoveryEvent::Removed(retried.id, Removal::Retried))?;
                users.extend(retried.users);
                // A library in a standard directory may have no user.
                self.retries.all = true;
            }
        }
        for pid in users {
            self.examine_process(pid)?;
        }
        Ok(())
    }

    /// Examines again whatever did not answer and may answer now.
    pub(super) fn unblock(&mut self, now: Instant) {
        self.spending.forget(now);
        self.table.count_groups();
        if self.inspections.unblock(now) {
            self.table.invalidate();
            self.retries.all = true;
        }
    }
}
