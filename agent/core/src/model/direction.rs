//! Direction of a segment.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Direction of a retransmitted segment.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Direction {
    /// Sent again by this host.
    Sent,
    /// Received again from the peer.
    Received,
}

impl Direction {
    /// Both directions, in the order of their index.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Label value.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}
