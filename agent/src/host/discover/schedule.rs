//! The main loop of the discovery thread: decides when processes and files are examined.

use std::{
    collections::{BTreeSet, HashSet},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

use super::{
    examine::Examiner,
    inspections::Subject,
    messages::{Disconnected, DiscoveryEvent, DiscoveryLimits, Removal, Request},
    process_maps,
};
use crate::{
    host::{observed_cgroup::ObservedCgroup, process},
    status::{Coverage, MAX_EXAMPLES, Unanswered},
};

/// Delays after an exec at which the process is examined: its libraries are mapped a little later,
/// and some by `dlopen` much later.
const AFTER_EXEC: [Duration; 5] = [
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// Minimum interval between scans of all processes.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// A scan is followed by a pause of this many times its duration, without the time that hung file
/// systems took, but of no more than [`MAX_SCAN_PAUSE`].
const SCAN_PAUSE_FACTOR: u32 = 100;
const MAX_SCAN_PAUSE: Duration = Duration::from_secs(60);
/// Interval after which all cached results are dropped: an inode number can be reused.
const CACHE_LIFETIME: Duration = Duration::from_secs(3600);
/// Interval at which unused files are released and a changed coverage is sent.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval after which one more place is tried where descriptors had run out.
const GROWTH_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of scheduled examinations; after more execs the next scan finds the processes.
const MAX_SCHEDULED: usize = 65_536;
/// A search of a file is followed by a pause of this many times its duration.
const SEARCH_PAUSE_FACTOR: u32 = 20;
/// Minimum pause between searches.
const MIN_SEARCH_PAUSE: Duration = Duration::from_millis(10);

/// State of the discovery thread.
pub(super) struct Discovery {
    examiner: Examiner,
    /// As [`DiscoveryLimits::cgroup`].
    cgroup: Option<ObservedCgroup>,
    /// Times at which processes are examined.
    scheduled: BTreeSet<(Instant, u32)>,
    /// Processes that are scheduled again, so that none is twice.
    retried: HashSet<u32>,
    next_scan: Instant,
    /// The coverage that was sent last.
    coverage: Coverage,
}

impl Discovery {
    pub(super) fn new(events: Sender<DiscoveryEvent>, limits: DiscoveryLimits) -> Self {
        Self {
            examiner: Examiner::new(
                events,
                limits.ignored,
                limits.excluded.into(),
                limits.places,
            ),
            cgroup: limits.cgroup,
            scheduled: BTreeSet::new(),
            retried: HashSet::new(),
            next_scan: Instant::now(),
            coverage: Coverage::default(),
        }
    }

    /// Runs until the observing loop has ended.
    pub(super) fn run(&mut self, requests: &Receiver<Request>) -> Result<(), Disconnected> {
        let begin = Instant::now();
        let processes = self.scan()?;
        self.send_coverage()?;
        self.examiner.send(DiscoveryEvent::Scanned {
            processes,
            duration: begin.elapsed(),
        })?;
        let mut next_clear = begin + CACHE_LIFETIME;
        let mut next_release = Instant::now() + RELEASE_INTERVAL;
        let mut next_search = Instant::now() + MIN_SEARCH_PAUSE;
        let mut search_begin = None;
        let mut next_growth = begin + GROWTH_INTERVAL;
        loop {
            self.schedule_retries();
            let mut next = self.next_scan.min(next_release);
            if search_begin.is_some() || self.examiner.files.has_unsearched() {
                next = next.min(next_search);
            }
            if let Some((at, _)) = self.scheduled.first() {
                next = next.min(*at);
            }
            match requests.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Request::Exec(pid)) => self.schedule_after_exec(pid, false),
                Ok(Request::ExecOutside(pid)) => self.schedule_after_exec(pid, true),
                Ok(Request::Attached(id, rejected, files)) => {
                    self.examiner.table.record_attach(id, rejected);
                    self.examiner.inspections.close(files);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Disconnected),
            }
            let now = Instant::now();
            self.examine_scheduled(now)?;
            if self.next_scan <= now {
                if next_clear <= now {
                    self.examiner.files.clear();
                    self.examiner.table.invalidate();
                    next_clear = now + CACHE_LIFETIME;
                }
                self.scan()?;
            }
            if next_release <= now {
                if next_growth <= now {
                    self.examiner.table.grow();
                    next_growth = now + GROWTH_INTERVAL;
                }
                self.examiner.unblock(now);
                self.release()?;
                self.examiner.share_places()?;
                self.send_coverage()?;
                next_release = Instant::now() + RELEASE_INTERVAL;
            }
            let has_search = search_begin.is_some() || self.examiner.files.has_unsearched();
            if next_search <= now && has_search {
                let begin = *search_begin.get_or_insert(now);
                next_search = if self.examiner.search_next_file()? {
                    Instant::now() + MIN_SEARCH_PAUSE
                } else {
                    search_begin = None;
                    let pause = begin.elapsed() * SEARCH_PAUSE_FACTOR;
                    Instant::now() + pause.max(MIN_SEARCH_PAUSE)
                };
            }
        }
    }

    /// Examines the processes that are scheduled up to now.
    fn examine_scheduled(&mut self, now: Instant) -> Result<(), Disconnected> {
        while let Some((at, pid)) = self.scheduled.first().copied()
            && at <= now
        {
            self.scheduled.pop_first();
            self.retried.remove(&pid);
            self.examiner.examine_process(pid)?;
        }
        Ok(())
    }

    /// Schedules a process that has executed another program.
    fn schedule_after_exec(&mut self, pid: u32, is_outside: bool) {
        self.examiner.table.remove_process(pid);
        self.examiner.table.set_outside(pid, is_outside);
        let now = Instant::now();
        if self.scheduled.len() + AFTER_EXEC.len() <= MAX_SCHEDULED {
            self.scheduled
                .extend(AFTER_EXEC.map(|delay| (now + delay, pid)));
        }
    }

    /// Schedules the processes that the examiner could not complete.
    fn schedule_retries(&mut self) {
        let now = Instant::now();
        let retries = self.examiner.take_retries();
        for (delay, pid) in retries.processes {
            if self.scheduled.len() < MAX_SCHEDULED && self.retried.insert(pid) {
                self.scheduled.insert((now + delay, pid));
            }
        }
        if retries.all {
            self.next_scan = self.next_scan.min(now + RELEASE_INTERVAL);
        }
    }

    /// Examines the standard directories and every process in scope; returns their
    /// number.
    fn scan(&mut self) -> Result<usize, Disconnected> {
        let begin = Instant::now();
        let waited = self.examiner.inspections.waited();
        self.examiner.examine_standard_dirs()?;
        let pids = process::pids();
        let members = self.cgroup.as_ref().map(ObservedCgroup::pids);
        let members: Option<HashSet<u32>> = members.map(|pids| pids.into_iter().collect());
        for pid in &pids {
            if let Some(members) = &members {
                let is_outside = !members.contains(pid);
                self.examiner.table.set_outside(*pid, is_outside);
            }
            self.examiner.examine_process(*pid)?;
        }
        let live: HashSet<u32> = pids.iter().copied().collect();
        self.examiner
            .table
            .retain_processes(|pid| live.contains(&pid));
        let waited = self.examiner.inspections.waited() - waited;
        self.next_scan = Instant::now() + scan_pause(begin.elapsed().saturating_sub(waited));
        Ok(members.map_or(pids.len(), |members| members.len()))
    }

    /// Releases files without users.
    fn release(&mut self) -> Result<(), Disconnected> {
        let Examiner { table, files, .. } = &mut self.examiner;
        for pid in table.holders() {
            // A zombie still exists but maps no code.
            if process_maps::code_size(pid).is_none() {
                table.remove_process(pid);
            }
        }
        let released = table.release(Instant::now());
        if released.files.is_empty() {
            return Ok(());
        }
        files.remove_files(|file| released.files.contains(&file));
        // Probes under the other name are attached before those of the released file are detached,
        // so that no handshake is missed.
        for pid in released.uncovered {
            self.examiner.examine_process(pid)?;
        }
        for id in released.libraries {
            self.examiner
                .send(DiscoveryEvent::Removed(id, Removal::Unused))?;
        }
        Ok(())
    }

    fn send_coverage(&mut self) -> Result<(), Disconnected> {
        let mut coverage = self.examiner.table.coverage();
        let Examiner {
            inspections, table, ..
        } = &self.examiner;
        let unanswered = inspections.unanswered().filter(
            |(subject, _)| !matches!(subject, Subject::Process(pid) if table.is_outside(*pid)),
        );
        let shown: Vec<&str> = unanswered.map(|(_, shown)| shown).collect();
        coverage.unanswered = Unanswered {
            inspections: shown.len() as u64,
            examples: shown
                .iter()
                .take(MAX_EXAMPLES)
                .map(|shown| (*shown).to_owned())
                .collect(),
        };
        if coverage != self.coverage {
            self.coverage = coverage.clone();
            self.examiner.send(DiscoveryEvent::Coverage(coverage))?;
        }
        Ok(())
    }
}

/// Pause after a scan that worked for this long.
fn scan_pause(worked: Duration) -> Duration {
    (worked * SCAN_PAUSE_FACTOR).clamp(SCAN_INTERVAL, MAX_SCAN_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_takes_a_hundredth_of_the_time_and_comes_within_a_minute() {
        for (worked_ms, pause_ms) in [(1, 5_000), (200, 20_000), (8_000, 60_000)] {
            let pause = scan_pause(Duration::from_millis(worked_ms));
            assert_eq!(pause.as_millis(), pause_ms);
        }
    }
}
