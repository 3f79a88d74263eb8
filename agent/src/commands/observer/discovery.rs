//! The discovery thread, and its results.

use std::{
    io,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc as async_mpsc, time::sleep};

use super::{libraries, log::LogLimit};
use crate::{
    bpf::Sensors,
    host::discover::{self, DiscoveredLibrary, DiscoveryEvent, DiscoveryLimits, Removal, Request},
    status::{LibraryId, MAX_LIBRARIES, Status},
};

/// Time limit for the end of the thread.
const JOIN_TIMEOUT: Duration = Duration::from_millis(300);
/// Interval at which the end of the thread is polled.
const JOIN_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum number of discovered libraries that wait to be attached.
const MAX_WAITING: usize = 16;

/// The discovery thread.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) requests: mpsc::Sender<Request>,
    events: async_mpsc::Receiver<DiscoveryEvent>,
    log: LogLimit,
    thread: JoinHandle<()>,
}

impl Discovery {
    pub(super) fn start(limits: DiscoveryLimits) -> io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let (sender, events) = async_mpsc::channel(MAX_WAITING);
        let thread = discover::spawn(received, sender, limits)?;
        Ok(Self {
            requests,
            events,
            log: LogLimit::default(),
            thread,
        })
    }

    /// The next event; `None` after the thread has ended.
    pub(super) async fn next(&mut self) -> Option<DiscoveryEvent> {
        self.events.recv().await
    }

    /// Updates sensors and status with an event; returns whether the list of libraries has changed
    /// in a way that recordings contain.
    pub(super) fn apply(
        &mut self,
        event: DiscoveryEvent,
        sensors: &mut Sensors,
        status: &mut Status,
    ) -> bool {
        match event {
            DiscoveryEvent::Scanned {
                processes,
                duration,
            } => {
                status.scanned = true;
                tracing::info!(
                    processes,
                    took_ms = duration.as_millis(),
                    libraries = status.libraries.len(),
                    "first scan done"
                );
            }
            DiscoveryEvent::Coverage(coverage) => status.coverage = coverage,
            DiscoveryEvent::Removed(id, removal) => self.remove(id, removal, sensors, status),
            DiscoveryEvent::Library(library) => {
                self.add(*library, sensors, status);
                return true;
            }
        }
        false
    }

    fn add(&mut self, library: DiscoveredLibrary, sensors: &mut Sensors, status: &mut Status) {
        let id = library.id;
        let (listed, refused) = libraries::attach(sensors, &library, status, &mut self.log);
        let DiscoveredLibrary { ssl, crypto, .. } = library;
        let files = crypto.into_iter().chain([ssl]).collect();
        // A closed channel shows that the thread has ended, which is handled elsewhere.
        let _ = self.requests.send(Request::Attached(id, refused, files));
        let libraries = &mut status.libraries;
        if libraries.len() >= MAX_LIBRARIES && listed.observed {
            // An observed library is more useful to the reader than one that is not observed.
            let other = libraries.iter().position(|library| !library.observed);
            other.map(|at| libraries.remove(at));
        }
        if libraries.len() < MAX_LIBRARIES {
            libraries.push(listed);
        }
    }

    fn remove(
        &mut self,
        id: LibraryId,
        removal: Removal,
        sensors: &mut Sensors,
        status: &mut Status,
    ) {
        let at = status.libraries.iter().position(|library| library.id == id);
        if let Some(at) = at {
            let library = status.libraries.remove(at);
            let path = library.path;
            let is_logged = removal != Removal::Retried && self.log.allows();
            match removal {
                _ if !is_logged => {}
                Removal::Unused => tracing::info!(path, "library without users detached"),
                Removal::Displaced => {
                    tracing::warn!(
                        path,
                        "library detached, its place was given to another owner"
                    );
                }
                Removal::Translated => tracing::warn!(
                    path,
                    "library detached, a process under a translator such as Valgrind maps it"
                ),
                Removal::Excluded => tracing::info!(
                    path,
                    "library detached, a process excluded by --ignore-process maps it"
                ),
                Removal::Retried => {}
            }
        }
        if let Some(sensor) = &mut sensors.handshake {
            sensor.detach(id, status);
        }
    }

    /// Ends the thread. A thread that a slow file blocks is abandoned.
    pub(super) async fn stop(self) {
        let Self {
            requests,
            events,
            thread,
            log: _,
        } = self;
        drop((requests, events));
        let deadline = Instant::now() + JOIN_TIMEOUT;
        while !thread.is_finished() && Instant::now() < deadline {
            sleep(JOIN_INTERVAL).await;
        }
        if !thread.is_finished() {
            tracing::warn!("discovery thread blocked by a slow file, not joined");
        }
    }
}
