//! Phase of a connection.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

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

impl Phase {
    /// Every phase, in the order of their index.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Label value.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}
