//! Reprise: an observer of TLS handshakes and session resumption. ARCHITECTURE.md shows its layers.
//!
//! The library exists for the executable, the benchmarks and the tests; it is no stable API.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these macros panic when the reader has ended"
)]

pub mod bpf;
pub mod commands;
mod errors;
pub mod host;
pub mod memory;
pub mod observed;
pub mod record;
pub mod status;
#[cfg(test)]
mod testing;
pub mod views;

pub(crate) use errors::chain;
