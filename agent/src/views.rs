//! What users see: the metrics page, the HTTP API and the live table.

mod chunks;
pub mod explanation;
pub mod http;
pub mod metrics;
pub mod services;
pub mod watch;
