//! Finds TLS libraries: in every running process, in processes that start later, and at rest in the usual directories, so that a
//! short-lived first user is not missed. Keeps account of who uses which, and of who cannot be observed. Runs on a thread of its
//! own, since it reads files that may be slow; plans there too.
//!
//! Its rooms: `maps` reads a process, `rest` the directories, `families` names, `image` opens files; `files` remembers what they
//! are, `table` (pure) who uses them; `schedule` is the thread, `examine` what it does with a process or a file; `alias` tells one
//! file under two names; `lookup` is for `reprise inspect`.

mod alias;
mod examine;
mod families;
mod files;
mod image;
pub mod lookup;
mod maps;
mod rest;
mod schedule;
mod table;

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::mpsc::Receiver,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::mpsc::Sender;

use crate::status::{Coverage, Reason};
use reprise_core::plan::Plan;
use schedule::Discovery;

/// What the observing loop asks of the thread.
#[derive(Debug)]
pub enum Request {
    /// This process executed a program.
    Exec(u32),
    /// The library of this key was attached, or refused for a reason and in these words.
    Settled(u64, Option<(Reason, String)>),
}

/// What the thread found.
#[derive(Debug)]
pub enum Found {
    /// A library file not seen before.
    Library(Box<Library>),
    /// Nobody uses the library of this key any more.
    Gone(u64),
    /// Who is observed and who is not, when that changed.
    Coverage(Coverage),
    /// Every process running at the start has been looked at.
    Scanned {
        /// How many there were.
        processes: usize,
        /// How long that took.
        took: Duration,
    },
}

/// A library file, and how to probe it.
#[derive(Debug)]
pub struct Library {
    /// Names it in every message about it.
    pub key: u64,
    /// Where it was found first, for people; nothing is opened by it again.
    pub path: String,
    /// The library itself, open.
    pub ssl: File,
    /// The crypto library of the process or directory that it was found in, open.
    pub crypto: Option<File>,
    /// The plan, or why there is none.
    pub plan: Result<Plan, String>,
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
