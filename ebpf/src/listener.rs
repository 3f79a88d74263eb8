//! Listening sockets of services without an observed library: when one is opened or closed, so that
//! the agent knows when another process may serve an address.
//!
//! Only sockets at addresses that the agent registers are reported, and of each address a bounded
//! number per second: a program that opens and closes sockets in a loop costs one look-up each.

use crate::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of a [`ListenerEvent`]: a socket began to listen.
pub const OPENED: u32 = 40;
/// `Header::kind` of a [`ListenerEvent`]: a socket no longer listens.
pub const CLOSED: u32 = 41;

/// Maximum number of registered addresses.
pub const MAX_ADDRESSES: u32 = 4_096;
/// Maximum number of events of one address per [`WINDOW_NS`].
pub const MAX_EVENTS: u32 = 16;
/// Duration of a window, nanoseconds.
pub const WINDOW_NS: u64 = 1_000_000_000;

/// An address at which sockets listen: the local address of connections, or one of the two
/// unspecified addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ListenerKey {
    /// As [`crate::Socket::local`].
    pub local: [u64; 2],
    /// As [`crate::Socket::netns`].
    pub netns: u32,
    /// Port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

/// Events of one registered address in the current window.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ListenerWindow {
    /// Beginning of the window, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// Events since.
    pub events: u32,
    /// Zero.
    pub reserved: u32,
}

/// A listening socket was opened or closed.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ListenerEvent {
    /// Kind and time.
    pub header: Header,
    /// Where the socket listens.
    pub key: ListenerKey,
    /// 1 if it is the last event of its window, after which others may be dropped; else 0.
    pub limited: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ListenerKey>() == 24);
const _: () = assert!(size_of::<ListenerWindow>() == 16);
const _: () = assert!(size_of::<ListenerEvent>() == 48);
