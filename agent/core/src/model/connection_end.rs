//! The end of a TCP connection.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::{Connection, labels::labelled};

/// How a TCP connection ended, by the state that it left and the error of its socket.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum ConnectionEnd {
    /// Both sides closed it, or the peer acknowledged this side's FIN.
    Closed,
    /// The peer reset it.
    ResetReceived,
    /// This side dropped it with a reset.
    ResetSent,
    /// The peer no longer answered: retransmissions or keep-alive probes had no answer.
    TimedOut,
    /// Anything else, or the error was not read.
    Unknown,
}

labelled!(ConnectionEnd);

/// A TCP connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionClosed {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The connection.
    pub connection: Connection,
    /// How it ended.
    pub end: ConnectionEnd,
}
