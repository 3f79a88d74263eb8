//! Correlation: events in, findings out. Pure and clockless: time is what the events report, so
//! that a recorded stream gives the same findings as the live one.
//!
//! An ended handshake of a library waits for [`SETTLE_NS`] of event time, since the TCP events that
//! explain it arrive through another ring buffer; then it is joined with the events of its
//! connection. The `wire` sensor's record of the same handshake is joined by client random; a
//! handshake that no library reports is observed from the wire alone.

mod aging_map;
mod cause;
mod connection_history;
mod engine;
mod finding;
mod fingerprint;
mod late_loss;
mod listeners;
mod network;
mod observation;
mod offer;
mod server_verdicts;
mod session;
mod sightings;
mod undecided_misses;
mod unread_hellos;
mod wire_handshakes;

pub use self::{
    engine::{Bounds, Engine, SETTLE_NS, Tracked},
    finding::{Finding, LateLoss},
};

#[cfg(test)]
mod tests;
