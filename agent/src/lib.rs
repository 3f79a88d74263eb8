//! Reprise: an observer of TLS handshakes and session resumption. `ARCHITECTURE.md` draws how the rooms hang together.

pub mod advice;
pub mod canary;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod correlate;
pub mod diagnose;
pub mod discover;
pub mod event;
pub mod hello;
pub mod host;
pub mod http;
pub mod inspect;
pub mod memory;
pub mod metrics;
pub mod observed;
pub mod observer;
pub mod peers;
pub mod pipeline;
pub mod plan;
pub mod pods;
pub mod reasons;
pub mod record;
pub mod replay;
pub mod sensors;
pub mod stats;
pub mod status;
pub mod watch;
pub mod workload;

use std::{error::Error, fmt::Write as _};

/// An error and its sources on one line: the one place that prints the chain.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let _ = write!(text, ": {source}");
        next = source.source();
    }
    text
}
