//! Finds TLS libraries: in every running process, in processes that start later, and at rest in the usual directories, so that a
//! short-lived first user is not missed. Runs on a thread of its own, since it reads files that may be slow; plans there too.

mod candidates;
mod carrier;
mod image;

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

pub use self::image::{Image, ImageError};
use self::{
    candidates::Candidate,
    image::{FileId, Opened},
};
use crate::plan::{self, Images, NoPlan, Plan};

/// When a process that executed a program is looked at: its libraries are mapped a little later, some by `dlopen` much later.
const AFTER_EXEC: [Duration; 5] = [
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// How often everything is looked at again.
const RESCAN: Duration = Duration::from_secs(30);
/// After how many rescans mappings are examined anew: an inode number can come back as another file.
const FORGET: u32 = 20;
/// Looks that may be due at one time; an exec storm beyond it waits for the next rescan.
const MAX_DUE: usize = 65_536;

/// What the observing loop asks of the thread.
#[derive(Debug)]
pub enum Request {
    /// This process executed a program.
    Exec(u32),
}

/// What the thread found.
#[derive(Debug)]
pub enum Found {
    /// A library file not seen before.
    Library(Box<Library>),
    /// Every process running at the start has been looked at.
    Scanned {
        /// How many there were.
        processes: usize,
    },
}

/// A library file, and how to probe it.
#[derive(Debug)]
pub struct Library {
    /// Where it was found first, for people; nothing is opened by it again.
    pub path: String,
    /// The library itself, open.
    pub ssl: File,
    /// The crypto library of the process or directory that it was found in, open.
    pub crypto: Option<File>,
    /// The plan, or why there is none.
    pub plan: Result<Plan, NoPlan>,
}

/// Starts the thread, which passes over files below the `ignored` paths. It ends when the sender of `requests` or the receiver of `found` is dropped.
///
/// # Errors
///
/// Where the system has no thread left.
pub fn spawn(
    requests: Receiver<Request>,
    found: Sender<Found>,
    ignored: Vec<PathBuf>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("discover".to_owned())
        .spawn(move || {
            // Ends silently: the observing loop is gone.
            let _ = Discovery::new(found, ignored).run(&requests);
        })
}

/// The observing loop is gone.
struct Gone;

struct Discovery {
    found: Sender<Found>,
    /// Paths below which nothing is probed.
    ignored: Vec<PathBuf>,
    /// Files planned or refused, by their own identity.
    files: HashSet<FileId>,
    /// Mappings known by the identity that `/proc/PID/maps` shows, which on overlay file systems is another one.
    mappings: HashSet<candidates::MappingId>,
    due: BTreeSet<(Instant, u32)>,
}

impl Discovery {
    fn new(found: Sender<Found>, ignored: Vec<PathBuf>) -> Self {
        Self {
            found,
            ignored,
            files: HashSet::new(),
            mappings: HashSet::new(),
            due: BTreeSet::new(),
        }
    }

    fn run(&mut self, requests: &Receiver<Request>) -> Result<(), Gone> {
        self.at_rest()?;
        let processes = self.scan()?;
        self.found
            .blocking_send(Found::Scanned { processes })
            .map_err(|_| Gone)?;
        let mut rescan = Instant::now() + RESCAN;
        let mut rescans = 0;
        loop {
            let next = self.due.first().map_or(rescan, |(at, _)| rescan.min(*at));
            match requests.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Request::Exec(pid)) => self.expect(pid),
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
            if rescan <= now {
                rescans += 1;
                if rescans % FORGET == 0 {
                    self.mappings.clear();
                }
                self.at_rest()?;
                self.scan()?;
                rescan = Instant::now() + RESCAN;
            }
        }
    }

    fn expect(&mut self, pid: u32) {
        let now = Instant::now();
        if self.due.len() + AFTER_EXEC.len() <= MAX_DUE {
            self.due.extend(AFTER_EXEC.map(|delay| (now + delay, pid)));
        }
    }

    /// Libraries in the usual directories of this root and of the first process's.
    fn at_rest(&mut self) -> Result<(), Gone> {
        for candidate in candidates::at_rest() {
            self.examine(&candidate)?;
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<usize, Gone> {
        let pids = candidates::pids();
        for pid in &pids {
            self.look_at(*pid)?;
        }
        Ok(pids.len())
    }

    fn look_at(&mut self, pid: u32) -> Result<(), Gone> {
        for candidate in candidates::mapped(pid, &mut self.mappings) {
            self.examine(&candidate)?;
        }
        Ok(())
    }

    fn examine(&mut self, candidate: &Candidate) -> Result<(), Gone> {
        let path = Path::new(&candidate.shown);
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            return Ok(());
        }
        // A file that went away between the look and the opening comes back with its next user.
        let Ok(opened) = candidate.open() else {
            return Ok(());
        };
        // Most are known, and need not be read again.
        if self.files.contains(&opened.id) {
            return Ok(());
        }
        let id = opened.id;
        let Ok(ssl) = opened.read() else {
            return Ok(());
        };
        self.files.insert(id);
        let crypto = candidate.open_crypto();
        let plan = plan::plan(Images {
            ssl: &ssl.bytes,
            crypto: crypto.as_ref().map(|image| image.bytes.as_slice()),
        });
        // The bytes end here: a queue of whole programs could be large.
        let library = Library {
            path: candidate.shown.clone(),
            ssl: ssl.file,
            crypto: crypto.map(|image| image.file),
            plan,
        };
        self.found
            .blocking_send(Found::Library(Box::new(library)))
            .map_err(|_| Gone)
    }
}

/// The TLS libraries that a process maps: path, library, crypto library.
///
/// # Errors
///
/// In words, where there is no such process.
pub fn libraries_of(pid: u32) -> Result<Vec<(String, Image, Option<Image>)>, String> {
    if !Path::new(&format!("/proc/{pid}")).exists() {
        return Err(format!("there is no process {pid}"));
    }
    let opened = candidates::mapped(pid, &mut HashSet::new())
        .into_iter()
        .map(|candidate| {
            let ssl = candidate
                .open()
                .and_then(Opened::read)
                .map_err(|error| crate::chain(&error))?;
            let crypto = candidate.open_crypto();
            Ok((candidate.shown, ssl, crypto))
        });
    opened.collect()
}

/// The TLS library in a file, with the crypto library beside it.
///
/// # Errors
///
/// [`ImageError`] that names the file.
pub fn library_at(path: &Path) -> Result<(String, Image, Option<Image>), ImageError> {
    let candidate = candidates::file(path);
    let crypto = candidate.open_crypto();
    Ok((candidate.shown.clone(), candidate.open()?.read()?, crypto))
}
