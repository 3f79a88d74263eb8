//! Discovers TLS libraries in running processes, in processes that start later, and in standard
//! directories, so that a short-lived first user is not missed. Tracks which processes use which
//! library and which cannot be observed. Runs on its own thread, because it reads files that can be
//! slow; planning also happens there.
//!
//! `process_maps` reads a process, `standard_dirs` the directories, `families` classifies file
//! names, `image` opens files. `files` caches results per file, `table` tracks users. `schedule` is
//! the main loop of the thread, `examine` the work on one process, `classify` on one file, and
//! `search` reads whole files. `alias` detects one file under two names, `translators` programs
//! that a probe would kill. `lookup` serves `reprise inspect`.
//!
//! No user can stop it: `inspections` abandons what hangs, `places` shares the observed files
//! between `owner`s and prefers those of `listening` processes, and `spending` limits the time per
//! owner.

mod alias;
mod classify;
mod examine;
mod examine_search;
mod families;
mod files;
mod found_file;
mod image;
mod inspections;
mod listening;
pub mod lookup;
mod messages;
mod owner;
mod places;
mod process_maps;
mod schedule;
mod search;
mod spending;
mod standard_dirs;
mod table;
mod translators;
mod upkeep;

use std::{
    io,
    sync::mpsc::Receiver,
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc::Sender;

use self::schedule::Discovery;

pub(crate) use self::messages::{
    DiscoveredLibrary, DiscoveryEvent, DiscoveryLimits, Removal, Request,
};

/// Starts the discovery thread. It ends when the sender of `requests` or the receiver of `events`
/// is dropped.
///
/// # Errors
///
/// No thread could be started.
pub(crate) fn spawn(
    requests: Receiver<Request>,
    events: Sender<DiscoveryEvent>,
    limits: DiscoveryLimits,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("discover".to_owned())
        .spawn(move || {
            // `run` fails only after the observing loop has ended.
            let _ = Discovery::new(events, limits).run(&requests);
        })
}
