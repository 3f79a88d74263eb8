//! The `/metrics` page, rendered from the sums at scrape time in a fixed order. A family is absent
//! if its sensor is not attached.

mod families;
mod process;
mod prometheus;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

use crate::observed::Shared;

/// Text format of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// The format for an `Accept` header: OpenMetrics only if the header names it.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// `Content-Type` of the response.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Renderer of the page.
#[derive(Debug)]
pub struct Page(Registry);

impl Page {
    /// A page of `shared`, and with `process` of the agent's own `process_*` families.
    #[must_use]
    pub fn new(shared: Shared, process: bool) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Observations(shared)));
        if process {
            registry.register_collector(Box::new(process::Process::new()));
        }
        Self(registry)
    }

    /// Writes the page to `out`.
    ///
    /// # Errors
    ///
    /// The error of `out`.
    pub fn write(&self, format: Format, out: &mut impl fmt::Write) -> fmt::Result {
        match format {
            Format::OpenMetrics => text::encode(out, &self.0),
            Format::Prometheus => {
                let mut converter = prometheus::Converter::new(out);
                text::encode(&mut converter, &self.0)
            }
        }
    }

    /// Renders the page as text.
    ///
    /// # Errors
    ///
    /// None in practice: writing to a string does not fail.
    pub fn render(&self, format: Format) -> Result<String, fmt::Error> {
        let mut page = String::new();
        self.write(format, &mut page)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Observations(Shared);

impl Collector for Observations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        families::encode(&self.0, &mut encoder)
    }
}

#[cfg(test)]
mod tests;
