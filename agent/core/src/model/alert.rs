//! TLS alerts.

use super::Direction;

/// A fatal alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// Its description (RFC 8446, section 6).
    pub description: u8,
    /// Whether this host sent or received it.
    pub direction: Direction,
}
