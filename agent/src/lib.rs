//! Reprise: an observer of TLS handshakes and session resumption. `ARCHITECTURE.md` draws how the rooms hang together.

pub mod bpf;
pub mod commands;
pub mod host;
pub mod memory;
pub mod observed;
pub mod record;
pub mod status;
pub mod views;

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
