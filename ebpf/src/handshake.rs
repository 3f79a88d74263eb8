//! ABI of the `handshake` sensor: what the programs are told about a library, and the event they send.

use crate::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`HandshakeEvent`].
pub const HANDSHAKE: u32 = 1;
/// `Header::kind` of [`ExecEvent`].
pub const EXEC: u32 = 2;

/// Libraries that can be observed at one time: entries of the map of [`Layout`]s.
pub const MAX_LIBRARIES: u32 = 256;
/// Handshakes open at one time, beyond which the least recently used is forgotten.
pub const MAX_OPEN: u32 = 65_536;

/// Byte offsets in the connection object, [`crate::ABSENT`] where unknown.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Layout {
    /// `statem.state`.
    pub state: u32,
    /// `statem.hand_state`.
    pub hand_state: u32,
    /// `statem.in_init`.
    pub in_init: u32,
    /// `server`.
    pub server: u32,
    /// `version`.
    pub version: u32,
    /// `hit`.
    pub hit: u32,
    /// `rbio`.
    pub rbio: u32,
    /// `wbio`.
    pub wbio: u32,
    /// `rwstate`.
    pub rwstate: u32,
    /// `s3.client_random`.
    pub client_random: u32,
    /// `flags` in the BIO object.
    pub bio_flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// One handshake, sent once, at its end.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HandshakeEvent {
    /// `time_ns` is the end of the handshake.
    pub header: Header,
    /// Address of the connection object: with `tgid`, names the connection.
    pub ssl: u64,
    /// Start of the first drive, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// Time inside the library's handshake code, nanoseconds.
    pub library_ns: u64,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Thread that ended it.
    pub tid: u32,
    /// Index of the library's [`Layout`].
    pub library: u32,
    /// Calls that drove the state machine.
    pub drives: u32,
    /// First error reason of the SSL library raised inside a drive; 0 for none.
    pub reason: u32,
    /// Protocol version on the wire (`0x0304`); 0 where not read.
    pub version: u32,
    /// A constant of [`outcome`].
    pub outcome: u8,
    /// A constant of [`role`].
    pub role: u8,
    /// 1 resumed, 0 full, [`HIT_UNKNOWN`] where not read.
    pub hit: u8,
    /// A constant of [`socket_source`].
    pub socket_source: u8,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Thread name; bytes after the first NUL are undefined.
    pub comm: [u8; 16],
    /// `client_random` of the ClientHello; valid with [`flag::RANDOM`].
    pub client_random: [u8; 32],
    /// The connection it ran on; valid unless [`socket_source::NONE`].
    pub socket: Socket,
}

/// [`HandshakeEvent::hit`] where the field could not be read.
pub const HIT_UNKNOWN: u8 = 255;

/// How a handshake ended.
pub mod outcome {
    /// The state machine reached its final state.
    pub const COMPLETED: u8 = 1;
    /// A drive returned an error.
    pub const FAILED: u8 = 2;
    /// `SSL_free` while open.
    pub const FREED: u8 = 3;
    /// The same object began another handshake while open (`SSL_clear`).
    pub const RESTARTED: u8 = 4;
    /// The process ended while open; told by the agent, not by the kernel.
    pub const PROCESS_ENDED: u8 = 5;
}

/// Which side the observed process is.
pub mod role {
    /// Connecting side.
    pub const CLIENT: u8 = 0;
    /// Accepting side.
    pub const SERVER: u8 = 1;
    /// Not read.
    pub const UNKNOWN: u8 = 255;
}

/// How the socket was found.
pub mod socket_source {
    /// Not found.
    pub const NONE: u8 = 0;
    /// Received on inside a drive, by the same thread.
    pub const IN_CALL: u8 = 1;
    /// The thread's last receive before the drive (memory BIOs).
    pub const BEFORE: u8 = 2;
}

/// Bits of [`HandshakeEvent::flags`].
pub mod flag {
    /// The peer sent FIN while the handshake was open.
    pub const PEER_CLOSED: u32 = 1;
    /// The socket was closed (FIN, RST or timeout) while the handshake was open.
    pub const SOCKET_CLOSED: u32 = 2;
    /// `client_random` was read.
    pub const RANDOM: u32 = 4;
}

/// A process executed a new program.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExecEvent {
    /// When.
    pub header: Header,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}

/// Key of an open handshake.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OpenKey {
    /// Process.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of the connection object.
    pub ssl: u64,
}

/// An open handshake, as the kernel side keeps it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Open {
    /// Start of the first drive.
    pub begin_ns: u64,
    /// Time inside the library so far.
    pub library_ns: u64,
    /// The kernel's socket, 0 for none; a key only.
    pub skaddr: u64,
    /// Index of the library's [`Layout`].
    pub library: u32,
    /// Drives so far.
    pub drives: u32,
    /// First error reason.
    pub reason: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// A constant of [`socket_source`].
    pub socket_source: u32,
    /// A constant of [`role`].
    pub role: u32,
    /// The connection.
    pub socket: Socket,
}

/// Index into the per-CPU counters of ways to lose something.
pub mod lost {
    /// The ring buffer was full.
    pub const RING_FULL: u32 = 0;
    /// A map refused an entry.
    pub const MAP_FULL: u32 = 1;
    /// Memory of the observed process could not be read.
    pub const READ_FAULT: u32 = 2;
    /// Number of counters.
    pub const COUNT: u32 = 3;
}

/// Attach cookie of an exit: library index and stack distance.
#[must_use]
pub const fn cookie(library: u32, sp_delta: u32) -> u64 {
    (sp_delta as u64) << 32 | library as u64
}

const _: () = assert!(size_of::<Layout>() == 48);
const _: () = assert!(size_of::<HandshakeEvent>() == 168);
const _: () = assert!(size_of::<ExecEvent>() == 24);
const _: () = assert!(size_of::<Open>() == 96);
