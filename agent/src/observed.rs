//! The state that all views read, and its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::status::Status;
use reprise_core::pipeline::Pipeline;

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
        // task poisons the lock but leaves the state as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
