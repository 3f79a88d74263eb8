//! The pure part of Reprise: bytes or events and a time in, values out. No I/O and no clock, so
//! that a recorded stream, a property test, a fuzz target and a benchmark run the code that runs in
//! production.

pub mod model;
pub mod pipeline;
pub mod plan;
