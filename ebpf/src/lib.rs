//! The ABI between the BPF programs and the agent: plain data, the same bytes on both sides.
//!
//! Every type is `repr(C)` with explicit padding and valid for any bit pattern (`zerocopy` proves
//! both at compile time), so that the agent decodes any bytes, from the kernel or from a recording,
//! without `unsafe`.
//!
//! With the feature `programs`, which only the BPF build sets, the crate also has the code that the
//! BPF objects share, `kernel`.
#![no_std]
#![cfg_attr(feature = "programs", feature(asm_experimental_arch))]

pub mod canary;
pub mod cgroup;
pub mod completed;
pub mod handshake;
#[cfg(feature = "programs")]
pub mod kernel;
pub mod listener;
pub mod netns;
pub mod scope;
pub mod tcp;
pub mod wire;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Marks an offset that was not found on this host.
pub const ABSENT: u32 = u32::MAX;

/// Second half of the IPv4-mapped prefix `::ffff:0:0/96`, in memory order; the IPv4 address goes
/// into its upper 32 bits.
pub const V4_MAPPED: u64 = 0x0000_0000_ffff_0000;

/// First bytes of every event.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// Kind of the event: a constant of [`cgroup`], [`handshake`], [`listener`], [`wire`] or
    /// [`tcp`].
    pub kind: u32,
    /// Size of the whole event, bytes.
    pub size: u32,
    /// Time of the event, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// One end of a TCP connection, seen from this host.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Socket {
    /// Local address in network order; IPv4 as `::ffff:a.b.c.d`. Words, since BPF copies words.
    pub local: [u64; 2],
    /// Remote address, same form.
    pub remote: [u64; 2],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order; 0 where no socket is known.
    pub remote_port: u16,
    /// Network namespace: [`netns::identifier`] of its inode number; 0 where unknown.
    pub netns: u32,
    /// The kernel's socket cookie; 0 where the tracepoint does not have it.
    pub cookie: u64,
}

/// Field offsets of one tracepoint: bytes from the start of the record, parsed from its `format`
/// file at load time, [`ABSENT`] where it has no such field.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TracepointLayout {
    /// `skaddr`: address of the kernel's socket, used as a key and never exported.
    pub skaddr: u32,
    /// `state` or `newstate`.
    pub state: u32,
    /// `oldstate` (`inet_sock_set_state`).
    pub old_state: u32,
    /// `protocol` (`inet_sock_set_state`), where it has two bytes (5.6 and later).
    pub protocol: u32,
    /// `sport`.
    pub sport: u32,
    /// `dport`.
    pub dport: u32,
    /// `saddr_v6`; or `saddr` where [`TracepointLayout::sockaddr`] is 1.
    pub saddr: u32,
    /// `daddr_v6`; or `daddr` where [`TracepointLayout::sockaddr`] is 1.
    pub daddr: u32,
    /// `sock_cookie`.
    pub cookie: u32,
    /// `err` (`tcp_retransmit_skb` since 6.17, which reports failed attempts too).
    pub err: u32,
    /// 1 where addresses are `struct sockaddr` with the port inside (`tcp_send_reset` since 6.10).
    pub sockaddr: u32,
    /// `pid` (`sched_process_exec`).
    pub pid: u32,
    /// `group_dead` (`sched_process_exit` since 6.16): the thread is the last of its process.
    pub group_dead: u32,
}

impl TracepointLayout {
    /// A layout with no field.
    pub const EMPTY: Self = Self {
        skaddr: ABSENT,
        state: ABSENT,
        old_state: ABSENT,
        protocol: ABSENT,
        sport: ABSENT,
        dport: ABSENT,
        saddr: ABSENT,
        daddr: ABSENT,
        cookie: ABSENT,
        err: ABSENT,
        sockaddr: 0,
        pid: ABSENT,
        group_dead: ABSENT,
    };
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Socket>() == 48);
const _: () = assert!(size_of::<TracepointLayout>() == 52);
