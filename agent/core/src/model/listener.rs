//! Listening sockets, and the processes that accept their connections.

use super::End;

/// A socket began to listen at an address, or no longer listens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerChange {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Where the socket listens: the local end of connections, or an unspecified address.
    pub end: End,
    /// Until when further changes may not have been reported, nanoseconds; else the same time.
    pub until_ns: u64,
}

/// Which process alone holds the listening sockets of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerOwner {
    /// Local end of connections.
    pub end: End,
    /// Since when, nanoseconds of `CLOCK_MONOTONIC`.
    pub from_ns: u64,
    /// The process; `None` where there are several or none, or where it is not known.
    pub tgid: Option<u32>,
}
