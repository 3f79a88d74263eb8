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
