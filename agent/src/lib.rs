//! Reprise: an observer of TLS handshakes and session resumption. `ARCHITECTURE.md` draws how the rooms hang together.

pub mod correlate;
pub mod event;
pub mod metrics;
pub mod peers;
pub mod pipeline;
pub mod plan;
pub mod stats;
pub mod status;
