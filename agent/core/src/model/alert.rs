//! TLS alerts.

use super::{Connection, Direction, Role};

/// A fatal alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// Its description (RFC 8446, section 6).
    pub description: u8,
    /// Whether this host sent or received it.
    pub direction: Direction,
}

/// A fatal alert that arrived right after a handshake of TLS 1.3 had completed on this side: the
/// peer refused what this side had sent last, usually its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertAfterCompletion {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Process.
    pub tgid: u32,
    /// Side of the process.
    pub role: Role,
    /// Description of the alert (RFC 8446, section 6).
    pub description: u8,
    /// The connection, where it was found.
    pub connection: Option<Connection>,
}
