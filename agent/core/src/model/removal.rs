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
    /// Its connection ended without `close_notify`.
    UncleanClose,
    /// It was found to be past its lifetime.
    Expired,
    /// The application requested it.
    Application,
    /// Removed inside a handshake, for a cause that was not observed.
    Unknown,
}

labelled!(Removal);

/// What a process was doing when it removed a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalContext {
    /// Freeing a connection that had ended without `close_notify`.
    Freeing,
    /// Driving a server's handshake.
    Handshake,
    /// Anything else: the application requested it.
    Application,
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
    /// Age of the session.
    pub age: SessionAge,
    /// Hash of its ID, as in [`super::Token::hash`]; `None` where it has none.
    pub id: Option<u64>,
}
