//! The pure part of Reprise: bytes or events and a time in, values out. It reads no clock and,
//! except for the peer file, no file, so that a recorded stream, a property test, a fuzz target and
//! a benchmark run the code that runs in production.
#![forbid(unsafe_code)]

pub mod model;
pub mod pipeline;
pub mod plan;
