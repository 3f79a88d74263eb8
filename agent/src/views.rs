//! What users see: the metrics page, the HTTP API and the live table.

pub(crate) mod changes;
mod chunks;
pub mod explanation;
pub mod http;
pub mod metrics;
pub mod owner;
pub mod services;
pub mod watch;
