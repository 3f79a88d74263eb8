//! Direction of a segment.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

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

labelled!(Direction);
