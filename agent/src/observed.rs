//! The state that all views read, and its lock.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::status::Status;
use reprise_core::pipeline::{
    Pipeline,
    stats::{PeerKey, PeerStats},
};

/// Time after which a reader of many peers releases the lock.
const SLICE: Duration = Duration::from_micros(500);
/// Peers between two readings of the clock.
const STEP: usize = 16;
/// Pause between two slices. The mutex is not fair: without a pause the observing loop would have
/// to wait for many slices.
const PAUSE: Duration = Duration::from_micros(200);

/// The observed state. The observing loop writes it, the views read it.
#[derive(Debug)]
pub struct Observed {
    /// Statistics, peers and sessions.
    pub pipeline: Pipeline,
    /// Health of the sensors, libraries and coverage.
    pub status: Status,
}

/// [`Observed`], shared between the observing loop and the views.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Observed>>);

impl Shared {
    /// Wraps the state for sharing.
    #[must_use]
    pub fn new(observed: Observed) -> Self {
        Self(Arc::new(Mutex::new(observed)))
    }

    /// Locks the state. The guard must not be held across an await or I/O.
    pub fn lock(&self) -> MutexGuard<'_, Observed> {
        // Only the main task changes the state, and its panic ends the process. A panic in an HTTP
        // thread poisons the lock but leaves the state as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with the sums of each of these peers that still has sums of its own. The lock
    /// is released after each slice of peers, so that the observing loop never waits for all.
    pub fn for_each_peer<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k PeerKey>,
        mut read: impl FnMut(&Observed, &PeerKey, &PeerStats),
    ) {
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            {
                let observed = self.lock();
                let begin = Instant::now();
                while keys.peek().is_some() && begin.elapsed() < SLICE {
                    for key in keys.by_ref().take(STEP) {
                        if let Some(sums) = observed.pipeline.stats.peers.get(key) {
                            read(&observed, key, sums);
                        }
                    }
                }
            }
            if keys.peek().is_some() {
                thread::sleep(PAUSE);
            }
        }
    }
}
