//! Sessions removed from a server's cache.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::{SessionAge, labels::labelled};

/// Cause of a session's removal from a cache before its lifetime ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Removal {
    /// The server freed its connection without having sent `close_notify`.
    UncleanCloseByServer,
    /// The peer reset the connection or closed it without `close_notify`, or packet loss ended it.
    UncleanCloseByPeer,
    /// It was found to be past its lifetime.
    Expired,
    /// The application requested it.
    Application,
    /// The cause was not observed.
    Unknown,
}

labelled!(Removal);

/// What a process was doing when it removed a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalContext {
    /// Freeing a connection on which it had not sent `close_notify`.
    Freeing,
    /// Driving a server's handshake.
    Handshake,
    /// Anything else: the application requested it, or the library itself after an error.
    Other,
}

/// A library removed a session from its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRemoved {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Process.
    pub tgid: u32,
    /// What the process was doing.
    pub context: RemovalContext,
    /// Whether the peer had sent `close_notify` on the connection that is freed; `None` where that
    /// was not read.
    pub peer_closed_cleanly: Option<bool>,
    /// Error that the library raised just before; received alert N is 1000 + N.
    pub reason: Option<u32>,
    /// Whether such an error would have been observed.
    pub reason_observed: bool,
    /// Age of the session.
    pub age: SessionAge,
    /// Hash of its ID, as in [`super::Token::hash`]; `None` where it has none.
    pub id: Option<u64>,
}
