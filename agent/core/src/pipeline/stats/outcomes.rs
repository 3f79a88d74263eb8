//! Outcomes of offered sessions.

use super::merge::Merge;

/// Numbers of offers by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcomes {
    /// The server resumed the session.
    pub accepted: u64,
    /// The server made a full handshake instead.
    pub missed: u64,
}

impl Outcomes {
    /// Number of offers.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.accepted + self.missed
    }
}

impl Merge for Outcomes {
    fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.missed += other.missed;
    }
}
