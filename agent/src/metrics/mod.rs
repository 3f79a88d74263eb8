//! The `/metrics` page: read from the sums at scrape time, in a fixed order. A family whose sensor is not attached is absent.

mod families;
mod process;
mod prometheus;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

use crate::{pipeline::Pipeline, status::Status};

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

/// Text formats of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What an `Accept` header asks for: OpenMetrics only by name.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// `Content-Type` of the answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Renders the page.
#[derive(Debug)]
pub struct Page(Registry);

impl Page {
    /// A page over `shared`; with `process`, the agent's own `process_*` families too.
    #[must_use]
    pub fn new(shared: Shared, process: bool) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Observations(shared)));
        if process {
            registry.register_collector(Box::new(process::Process::new()));
        }
        Self(registry)
    }

    /// The page as text.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a string does not fail.
    pub fn render(&self, format: Format) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.0)?;
        Ok(match format {
            Format::OpenMetrics => page,
            Format::Prometheus => prometheus::from_open_metrics(&page),
        })
    }
}

#[derive(Debug)]
struct Observations(Shared);

impl Collector for Observations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        families::encode(&self.0.lock(), &mut encoder)
    }
}

#[cfg(test)]
mod tests;
