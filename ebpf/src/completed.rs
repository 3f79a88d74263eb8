//! Handshakes that completed a moment ago, as the handshake programs remember them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Socket;

/// Maximum time between completion and alert, nanoseconds.
pub const WINDOW_NS: u64 = 1_000_000_000;

/// A handshake of TLS 1.3 that completed.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Completed {
    /// Address of the connection object.
    pub ssl: u64,
    /// Time of completion.
    pub time_ns: u64,
    /// Role of the process, as in [`crate::handshake::Open::role`].
    pub role: u32,
    /// How the socket was found, as in [`crate::handshake::Open::socket_source`].
    pub socket_source: u32,
    /// The connection.
    pub socket: Socket,
}
