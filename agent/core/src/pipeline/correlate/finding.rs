//! Output of the correlation engine.

use crate::model::{AlertAfterCompletion, Connection, Direction, Observation, Phase, Role};

/// One finding of the correlation engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every finding is a handshake, and each is consumed at once"
)]
pub enum Finding {
    /// A handshake ended.
    Handshake(Observation),
    /// A retransmission that no observation counts.
    Loss(LateLoss),
    /// The peer refused a handshake that had completed on this side.
    Alert(AlertAfterCompletion),
    /// A server removed a session from its cache at the unclean end of this connection, which had
    /// packet loss.
    SessionCut(Connection),
}

/// A retransmission to be counted beside those of observed handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateLoss {
    /// Side of this host.
    pub role: Role,
    /// Phase of the connection.
    pub phase: Phase,
    /// Direction of the segment.
    pub direction: Direction,
    /// The connection.
    pub connection: Connection,
    /// The first retransmission of a handshake that was observed as completed without any.
    pub first: bool,
}
