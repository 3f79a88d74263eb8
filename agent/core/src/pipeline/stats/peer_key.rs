//! Identity of a peer's sums.

use super::recent_table::HasRole;
use crate::{model::Role, pipeline::peers::Peer};

/// A peer, in one role of the observed process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    /// Role of the observed process.
    pub role: Role,
    /// The other side.
    pub peer: Peer,
}

impl HasRole for PeerKey {
    fn role(&self) -> Role {
        self.role
    }
}
