//! How a handshake ended.

use super::{FailureCause, Resumption};

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It completed.
    Completed(Resumption),
    /// It failed, for this cause.
    Failed(FailureCause),
}

impl Outcome {
    /// Whether the peer ended the handshake or went silent. A handshake with packet loss or with an
    /// alert has another explanation.
    #[must_use]
    pub const fn is_abandoned_by_peer(self) -> bool {
        matches!(
            self,
            Self::Failed(FailureCause::Timeout | FailureCause::Reset | FailureCause::Closed)
        )
    }
}
