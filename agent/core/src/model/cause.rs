//! Failure causes.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// Failure cause of a handshake, exactly one each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum FailureCause {
    /// It did not complete, and its connection showed evidence of packet loss while it ran.
    PacketLoss,
    /// It stalled without evidence of packet loss, until one side abandoned it.
    Timeout,
    /// TCP reset.
    Reset,
    /// The peer closed the connection without an alert.
    Closed,
    /// The peer sent a fatal alert.
    AlertReceived,
    /// This side sent a fatal alert.
    AlertSent,
    /// The library raised an error and sent no alert.
    LocalError,
    /// The process dropped the connection.
    Abandoned,
}

labelled!(FailureCause);
