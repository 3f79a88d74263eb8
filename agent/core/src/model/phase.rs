//! Phase of a connection.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// Phase of a connection in which a segment was retransmitted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// The SYN.
    Syn,
    /// The SYN-ACK.
    #[strum(serialize = "synack")]
    SynAck,
    /// The handshake's data.
    Handshake,
}

labelled!(Phase);
