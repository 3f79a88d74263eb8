//! Owners of listening sockets, as the agent finds them in `/proc`. A record, so that a replay has
//! them too.

use reprise_ebpf::{Header, listener::ListenerKey};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`OwnerEvent`]; the kernel never sends it.
pub const OWNER: u32 = 251;

/// The process that alone holds the listening sockets of an address.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OwnerEvent {
    /// Kind, and when it was found.
    pub header: Header,
    /// Local address of connections.
    pub key: ListenerKey,
    /// Since when, nanoseconds of `CLOCK_MONOTONIC`.
    pub from_ns: u64,
    /// The process; 0 where there are several or none, or where it is not known.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}

impl OwnerEvent {
    /// A record that process `tgid` owns the sockets at `key` since `from_ns`.
    #[must_use]
    pub const fn new(key: ListenerKey, tgid: Option<u32>, from_ns: u64, time_ns: u64) -> Self {
        Self {
            header: Header {
                kind: OWNER,
                size: size_of::<Self>() as u32,
                time_ns,
            },
            key,
            from_ns,
            tgid: match tgid {
                Some(tgid) => tgid,
                None => 0,
            },
            reserved: 0,
        }
    }
}
