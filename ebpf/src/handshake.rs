//! ABI of the `handshake` sensor: what the programs are told about a library, and the event they send.

use crate::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`HandshakeEvent`].
pub const HANDSHAKE: u32 = 1;
/// `Header::kind` of [`ExecEvent`].
pub const EXEC: u32 = 2;
/// `Header::kind` of [`ForgetEvent`].
pub const FORGET: u32 = 3;

/// Libraries that can be observed at one time: entries of the map of [`Layout`]s.
pub const MAX_LIBRARIES: u32 = 256;
/// Handshakes open at one time, beyond which the least recently used is forgotten.
pub const MAX_OPEN: u32 = 65_536;

/// Where a field is: in the connection object, or behind up to two pointers from there.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Field {
    /// Offsets of the pointers to follow, first that in the connection object; [`crate::ABSENT`] where there are fewer.
    pub through: [u32; 2],
    /// Offset of the field in what the last pointer leads to, bytes; [`crate::ABSENT`] where the field is not known.
    pub offset: u32,
    /// Bits of the four bytes there that are the field; unused where it is a pointer or longer.
    pub mask: u32,
}

impl Field {
    /// A field that is not known.
    pub const UNKNOWN: Self = Self {
        through: [crate::ABSENT; 2],
        offset: crate::ABSENT,
        mask: 0,
    };
}

/// What the programs are told about one library.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Layout {
    /// How far the handshake is: as the [`family`] has it.
    pub state: Field,
    /// `statem.hand_state`, of [`family::STATE_MACHINE`].
    pub hand_state: Field,
    /// `statem.in_init`, of [`family::STATE_MACHINE`].
    pub in_init: Field,
    /// Pointer to the handshake object, of [`family::HANDSHAKE_OBJECT`].
    pub handshake: Field,
    /// Not 0 on the accepting side.
    pub server: Field,
    /// Version on the wire.
    pub version: Field,
    /// Not 0 where the session was resumed.
    pub hit: Field,
    /// Pointer to the BIO that is read from.
    pub rbio: Field,
    /// Pointer to the BIO that is written to.
    pub wbio: Field,
    /// What the last call waits for.
    pub rwstate: Field,
    /// The client's random, 32 bytes.
    pub client_random: Field,
    /// Pointer to the session.
    pub session: Field,
    /// What a session keeps.
    pub session_fields: SessionFields,
    /// Offset of `flags` in the BIO object; [`crate::ABSENT`] where not known.
    pub bio_flags: u32,
    /// A constant of [`family`].
    pub family: u32,
    /// Values of `rwstate` that mean "the program must act before the handshake goes on", as bits.
    pub wants: u32,
    /// Bits of [`hook`].
    pub hook: u32,
}

/// Where a session keeps what is read, bytes; [`crate::ABSENT`] where not known.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionFields {
    /// When it began, eight bytes.
    pub time: u32,
    /// How long it lives, eight bytes.
    pub timeout: u32,
    /// Its ID, 32 bytes.
    pub id: u32,
    /// Length of the ID, of which four bytes are read.
    pub id_length: u32,
}

/// How a library tells the state of a handshake.
pub mod family {
    /// `statem` of OpenSSL 1.1.0 and later.
    pub const STATE_MACHINE: u32 = 0;
    /// The one number of OpenSSL 1.0.2 and LibreSSL.
    pub const ONE_NUMBER: u32 = 1;
    /// BoringSSL: an object that exists as long as the handshake runs; its state is 0 before the first step.
    pub const HANDSHAKE_OBJECT: u32 = 2;
}

/// Bits that tell what the probed function is.
pub mod hook {
    /// Its second argument is the role: not 0 on the accepting side.
    pub const ROLE_IN_ARGUMENT: u32 = 1;
    /// Its exits are returns: the result is in its register there.
    pub const RETURNS: u32 = 2;
    /// The end of sessions is probed: one that the server looked up and turned down is seen.
    pub const LOOKUPS: u32 = 4;
}

/// When a session began and how long it lives, as the library keeps both: seconds, or nanoseconds from OpenSSL 3.2 on.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SessionAge {
    /// By the process's wall clock; 0 where not read.
    pub time: u64,
    /// Lifetime.
    pub timeout: u64,
}

/// A session's ID. Raw only between kernel and agent, which puts its hash in its place at once.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SessionId {
    /// The ID; after the agent took it, the first eight bytes of its SHA-256, then zeroes.
    pub bytes: [u8; 32],
    /// Length of the ID, bytes; 0 where there is none.
    pub length: u32,
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
    /// When the program last received something for it; the beginning where it never did.
    pub heard_ns: u64,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Thread that ended it.
    pub tid: u32,
    /// Index of the library's [`Layout`].
    pub library: u32,
    /// Calls that drove the state machine.
    pub drives: u32,
    /// First error reason of the SSL library raised inside the drive that ended it; 0 for none, [`REASON_OTHER`] where its number is not OpenSSL's.
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
    /// The session it made or resumed; zeroes unless it completed.
    pub session: SessionAge,
    /// ID of that session.
    pub session_id: SessionId,
    /// A session that the server let go inside a drive: where that was before it answered, one that it looked up and turned
    /// down. Zeroes where there was none.
    pub found: SessionAge,
    /// When that was, nanoseconds of `CLOCK_MONOTONIC`.
    pub found_ns: u64,
}

/// [`HandshakeEvent::reason`] of an error whose number means something else in OpenSSL.
pub const REASON_OTHER: u32 = u32::MAX;
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
    /// After the error was raised the library sent something: an alert.
    pub const ALERTED: u32 = 16;
    /// A session that was turned down would have been seen: without one there was none to be found.
    pub const LOOKUPS: u32 = 8;
}

/// A session was taken out of a cache (`SSL_CTX_remove_session`), not inside a client's handshake.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ForgetEvent {
    /// When.
    pub header: Header,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// A constant of [`forgot`].
    pub how: u32,
    /// Its age.
    pub session: SessionAge,
    /// Its ID.
    pub session_id: SessionId,
}

/// What the process was doing when it forgot a session.
pub mod forgot {
    /// Freeing a connection: one that ended without `close_notify`.
    pub const FREEING: u32 = 1;
    /// Driving a server's handshake: an alert, or a session beyond its lifetime.
    pub const DRIVING: u32 = 2;
    /// Something else: the application asked for it.
    pub const ELSE: u32 = 3;
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
    /// When the program last received something for it; the beginning where it never did.
    pub heard_ns: u64,
    /// The kernel's socket, 0 for none; a key only.
    pub skaddr: u64,
    /// Index of the library's [`Layout`].
    pub library: u32,
    /// Drives so far.
    pub drives: u32,
    /// First error reason of the current drive.
    pub reason: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// A constant of [`socket_source`].
    pub socket_source: u32,
    /// A constant of [`role`].
    pub role: u32,
    /// The connection.
    pub socket: Socket,
    /// See [`HandshakeEvent::found`].
    pub found: SessionAge,
    /// See [`HandshakeEvent::found_ns`].
    pub found_ns: u64,
}

/// Index into the per-CPU counters of ways to lose something.
pub mod lost {
    /// The ring buffer was full.
    pub const RING_FULL: u32 = 0;
    /// A map refused an entry.
    pub const MAP_FULL: u32 = 1;
    /// Memory of the observed process could not be read.
    pub const READ_FAULT: u32 = 2;
    /// A handshake ended in a call that is not probed, so that its time is not known.
    pub const UNSEEN_END: u32 = 3;
    /// Number of counters.
    pub const COUNT: u32 = 4;
}

/// Attach cookie of an exit: library index and stack distance.
#[must_use]
pub const fn cookie(library: u32, sp_delta: u32) -> u64 {
    (sp_delta as u64) << 32 | library as u64
}

/// Attach cookie of the function that raises errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCookie {
    /// Which argument (0-based) is the reason: 1 or 2.
    pub reason_arg: u8,
    /// Number of the SSL library, as argument 0 has it.
    pub library: u32,
    /// Reasons below this one mean something else in OpenSSL.
    pub first_reason: u32,
}

impl ErrorCookie {
    /// As the kernel hands it to the program.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.first_reason as u64) << 32
            | (self.library as u64 & 0xffff) << 8
            | self.reason_arg as u64
    }

    /// What [`Self::bits`] made.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            reason_arg: bits as u8,
            library: (bits >> 8) as u32 & 0xffff,
            first_reason: (bits >> 32) as u32,
        }
    }
}

const _: () = assert!(size_of::<Field>() == 16);
const _: () = assert!(size_of::<Layout>() == 224);
const _: () = assert!(size_of::<HandshakeEvent>() == 256);
const _: () = assert!(size_of::<ForgetEvent>() == 80);
const _: () = assert!(size_of::<ExecEvent>() == 24);
const _: () = assert!(size_of::<Open>() == 128);
