//! What every page is made from, and the lock around it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::status::Status;
use reprise_core::pipeline::Pipeline;

/// What pages are made from. Written by the observing loop, read by pages.
#[derive(Debug)]
pub struct Observed {
    /// Sums and tables.
    pub pipeline: Pipeline,
    /// Sensors and libraries.
    pub status: Status,
}

/// [`Observed`], shared between the observing loop and the pages.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Observed>>);

impl Shared {
    /// Shares it.
    #[must_use]
    pub fn new(observed: Observed) -> Self {
        Self(Arc::new(Mutex::new(observed)))
    }

    /// Locks it. Never held across an await or I/O.
    pub fn lock(&self) -> MutexGuard<'_, Observed> {
        // A panic while holding it would have ended the process: sums are always whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
