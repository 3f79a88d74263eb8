//! TCP events.

use super::{Connection, Direction, Phase};

/// Kind of a TCP event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpEventKind {
    /// A segment was retransmitted. Whether it belongs to the handshake follows from its time.
    Retransmission(Phase, Direction),
    /// This host's last flight was retransmitted after both sides had finished.
    LastFlightRetransmission,
    /// Earlier data has not arrived: the peer's, as later data shows; or this host's, as the peer's
    /// acknowledgement shows.
    Missing,
    /// A record continued after a retransmission timeout of silence.
    Stall,
    /// The first data of a connection arrived late at its listener.
    LateFirstData,
    /// A reset arrived.
    ResetReceived,
    /// A reset was sent.
    ResetSent,
}

/// A TCP event on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpEvent {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The connection.
    pub connection: Connection,
    /// What happened.
    pub kind: TcpEventKind,
}
