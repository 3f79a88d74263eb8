//! The thread: what is looked at, and when.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

use super::{Found, Request, files::Files, maps, rest, table::Table};
use crate::status::Coverage;

/// When a process that executed a program is looked at: its libraries are mapped a little later, some by `dlopen` much later.
const AFTER_EXEC: [Duration; 5] = [
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// How often everything is looked at again, at most.
const RESCAN: Duration = Duration::from_secs(5);
/// A look at everything is followed by a rest this many times as long.
const RESCAN_RESTS: u32 = 100;
/// How often files are examined anew: an inode number can come back as another file.
const FORGET: Duration = Duration::from_secs(3600);
/// How often files without users are let go, and coverage is told when it changed.
const TICK: Duration = Duration::from_secs(1);
/// When a process is looked at again whose library could not be judged yet.
const AGAIN: Duration = Duration::from_millis(100);
/// Looks that may be due at one time; an exec storm beyond it waits for the next rescan.
const MAX_DUE: usize = 65_536;

/// A look inside files is followed by a rest this many times as long: it is for a quiet moment.
const RESTS: u32 = 20;
/// The shortest such rest.
const REST: Duration = Duration::from_millis(10);

/// The observing loop is gone.
pub(super) struct Gone;

/// See the module.
pub(super) struct Discovery {
    pub(super) found: Sender<Found>,
    /// Paths below which nothing is probed.
    pub(super) ignored: Vec<PathBuf>,
    pub(super) files: Files,
    pub(super) table: Table,
    due: BTreeSet<(Instant, u32)>,
    rescan: Instant,
    /// As told last.
    coverage: Coverage,
}

impl Discovery {
    pub(super) fn new(found: Sender<Found>, ignored: Vec<PathBuf>) -> Self {
        Self {
            found,
            ignored,
            files: Files::new(),
            table: Table::new(rest::root_device()),
            due: BTreeSet::new(),
            rescan: Instant::now(),
            coverage: Coverage::default(),
        }
    }

    pub(super) fn run(&mut self, requests: &Receiver<Request>) -> Result<(), Gone> {
        let begin = Instant::now();
        let processes = self.scan()?;
        self.tell_coverage()?;
        self.tell(Found::Scanned {
            processes,
            took: begin.elapsed(),
        })?;
        let mut forget = begin + FORGET;
        let mut tick = Instant::now() + TICK;
        let mut search = Instant::now() + REST;
        loop {
            let mut next = self.rescan.min(tick);
            if self.files.has_unsearched() {
                next = next.min(search);
            }
            if let Some((due, _)) = self.due.first() {
                next = next.min(*due);
            }
            match requests.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Request::Exec(pid)) => self.expect(pid),
                Ok(Request::Settled(key, refused)) => self.table.settle(key, refused),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            }
            let now = Instant::now();
            while let Some((at, pid)) = self.due.first().copied()
                && at <= now
            {
                self.due.pop_first();
                self.look_at(pid)?;
            }
            if self.rescan <= now {
                if forget <= now {
                    self.files.unlearn_all();
                    self.table.doubt();
                    forget = now + FORGET;
                }
                self.scan()?;
            }
            if tick <= now {
                self.release()?;
                self.tell_coverage()?;
                tick = Instant::now() + TICK;
            }
            if search <= now && self.files.has_unsearched() {
                let begin = Instant::now();
                self.look_inside()?;
                search = Instant::now() + (begin.elapsed() * RESTS).max(REST);
            }
        }
    }

    /// A process runs another program from now on.
    fn expect(&mut self, pid: u32) {
        self.table.forget(pid);
        let now = Instant::now();
        if self.due.len() + AFTER_EXEC.len() <= MAX_DUE {
            self.due.extend(AFTER_EXEC.map(|delay| (now + delay, pid)));
        }
    }

    /// A process is to be looked at once more, soon.
    pub(super) fn again(&mut self, pid: u32) {
        if self.due.len() < MAX_DUE {
            self.due.insert((Instant::now() + AGAIN, pid));
        }
    }

    /// All processes are to be looked at soon.
    pub(super) fn all_again(&mut self) {
        self.table.doubt();
        self.rescan = self.rescan.min(Instant::now() + TICK);
    }

    /// Looks at the usual directories and at every process; tells how many there are.
    fn scan(&mut self) -> Result<usize, Gone> {
        let begin = Instant::now();
        self.look_at_rest()?;
        let pids = maps::pids();
        for pid in &pids {
            self.look_at(*pid)?;
        }
        let live: HashSet<u32> = pids.iter().copied().collect();
        self.table.keep(|pid| live.contains(&pid));
        let end = Instant::now();
        self.rescan = end + RESCAN.max((end - begin) * RESCAN_RESTS);
        Ok(pids.len())
    }

    /// Lets go of files without users.
    fn release(&mut self) -> Result<(), Gone> {
        for pid in self.table.holders() {
            // A process that ended and was not waited for is there, but has no code.
            if maps::code_size(pid).is_none() {
                self.table.forget(pid);
            }
        }
        let released = self.table.release(Instant::now());
        if released.files.is_empty() {
            return Ok(());
        }
        self.files
            .unlearn_files(|file| released.files.contains(&file));
        // Probes under the other name first, so that no handshake falls between.
        for pid in released.bereft {
            self.look_at(pid)?;
        }
        for key in released.keys {
            self.tell(Found::Gone(key))?;
        }
        Ok(())
    }

    fn tell_coverage(&mut self) -> Result<(), Gone> {
        let coverage = self.table.coverage();
        if coverage != self.coverage {
            self.coverage = coverage.clone();
            self.tell(Found::Coverage(coverage))?;
        }
        Ok(())
    }

    pub(super) fn tell(&self, found: Found) -> Result<(), Gone> {
        self.found.blocking_send(found).map_err(|_| Gone)
    }
}
