//! ABI of the `handshake` sensor: the layout of a library's objects, the attach cookies, and the
//! events.

mod cookies;
mod layout;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::{
    cookies::{ErrorCookie, cookie},
    layout::{Field, Layout, SessionFields, family, hook},
};
use crate::{Header, Socket};

/// `Header::kind` of [`HandshakeEvent`].
pub const HANDSHAKE: u32 = 1;
/// `Header::kind` of [`ExecEvent`].
pub const EXEC: u32 = 2;
/// An [`ExecEvent`] of a process outside of the observed cgroup, for the discovery of libraries
/// only: it is neither counted nor recorded.
pub const EXEC_OUTSIDE: u32 = 8;
/// `Header::kind` of [`ForgetEvent`].
pub const FORGET: u32 = 3;
/// `Header::kind` of [`ExitEvent`].
pub const EXIT: u32 = 4;
/// `Header::kind` of [`AlertEvent`].
pub const ALERT: u32 = 5;

/// Entries of the map of [`Layout`]s: libraries observed at one time, and slots that are not reused
/// yet.
pub const MAX_LIBRARIES: u32 = 1024;
/// Maximum number of open handshakes; beyond it the least recently used is evicted.
pub const MAX_OPEN: u32 = 65_536;
/// Maximum number of open handshakes of one process; further ones are lost until the agent has
/// evicted some.
pub const MAX_OPEN_PER_PROCESS: u32 = 8_192;

/// Creation time and lifetime of a session in the library's unit: seconds, or nanoseconds from
/// OpenSSL 3.2 on.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SessionAge {
    /// Creation time by the process's wall clock; 0 where not read.
    pub time: u64,
    /// Lifetime.
    pub timeout: u64,
}

/// A session's ID. Raw only between kernel and agent, which replaces it by its hash at once.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SessionId {
    /// The ID; in the agent, the first eight bytes of its SHA-256, then zeroes.
    pub bytes: [u8; 32],
    /// Length of the ID, bytes; 0 where there is none.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
}

/// A handshake, sent once, at its end.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HandshakeEvent {
    /// `time_ns` is the end of the handshake.
    pub header: Header,
    /// Address of the connection object; identifies the connection together with `tgid`.
    pub ssl: u64,
    /// Start of the first drive, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// Time inside the library's handshake code, nanoseconds.
    pub library_ns: u64,
    /// Time of the last receive for it; `begin_ns` where there was none.
    pub heard_ns: u64,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Thread that ended it.
    pub tid: u32,
    /// Index of the library's [`Layout`].
    pub library: u32,
    /// Number of calls that drove the state machine.
    pub drives: u32,
    /// First error reason that the SSL library raised in the last drive; 0 for none,
    /// [`REASON_OTHER`] where its number is not OpenSSL's.
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
    /// Name of the process, or of the thread on kernels without BTF; bytes after the first NUL are
    /// undefined.
    pub comm: [u8; 16],
    /// `client_random` of the ClientHello; valid with [`flag::RANDOM`].
    pub client_random: [u8; 32],
    /// Its connection; valid unless [`socket_source::NONE`].
    pub socket: Socket,
    /// The session it created or resumed; zeroes unless it completed.
    pub session: SessionAge,
    /// ID of that session.
    pub session_id: SessionId,
    /// A session that the server released inside a drive: one that it looked up and rejected, where
    /// that was before its answer. Zeroes where there was none.
    pub rejected: SessionAge,
    /// Time of the release, nanoseconds of `CLOCK_MONOTONIC`; 0 where there was none.
    pub rejected_ns: u64,
    /// ID of the process's cgroup in the v2 hierarchy at the first drive; 0 where not known.
    pub cgroup: u64,
}

/// [`HandshakeEvent::reason`] of an error whose number has another meaning in OpenSSL.
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
    /// The process ended while open; reported by the agent, not by the kernel.
    pub const PROCESS_ENDED: u8 = 5;
}

/// Role of the observed process.
pub mod role {
    /// Connecting side.
    pub const CLIENT: u8 = 0;
    /// Accepting side.
    pub const SERVER: u8 = 1;
    /// Not read.
    pub const UNKNOWN: u8 = 255;
}

/// How the socket was identified.
pub mod socket_source {
    /// Not identified.
    pub const NONE: u8 = 0;
    /// The thread received or sent on it inside a drive.
    pub const IN_CALL: u8 = 1;
    /// The thread's last receive before a drive, or its first send after one (memory BIOs).
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
    /// Rejected sessions are observed in this library: without one the lookup found none.
    pub const LOOKUPS: u32 = 8;
    /// The library sent data after it raised the error: an alert.
    pub const ALERTED: u32 = 16;
}

/// A session was removed from a cache (`SSL_CTX_remove_session`), not inside a client's handshake.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ForgetEvent {
    /// Kind and time.
    pub header: Header,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// A constant of [`forgot`].
    pub how: u32,
    /// Age of the session.
    pub session: SessionAge,
    /// Its session ID.
    pub session_id: SessionId,
    /// Address of the connection object; 0 where unknown.
    pub ssl: u64,
    /// Bits of [`shutdown`] at that time; [`crate::ABSENT`] where not read.
    pub shutdown: u32,
    /// Error reason that the library raised just before; 0 for none. OpenSSL 3 removes the session
    /// after `SSL_R_UNEXPECTED_EOF_WHILE_READING` (294), and every version after an alert (1000
    /// plus its number).
    pub reason: u32,
}

/// Bits of [`ForgetEvent::shutdown`]: `SSL_SENT_SHUTDOWN` and `SSL_RECEIVED_SHUTDOWN`
/// (include/openssl/ssl.h). `SSL_free` removes the session of a connection without the first.
pub mod shutdown {
    /// This side sent `close_notify`.
    pub const SENT: u32 = 1;
    /// The peer sent `close_notify` or a fatal alert.
    pub const RECEIVED: u32 = 2;
}

/// A fatal alert arrived within a second after a handshake of TLS 1.3 completed: the peer refused
/// what this side had sent last, usually a client certificate.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AlertEvent {
    /// Kind and time.
    pub header: Header,
    /// Address of the connection object.
    pub ssl: u64,
    /// End of the handshake, as in the header of its [`HandshakeEvent`].
    pub completed_ns: u64,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Number of the alert (RFC 8446, section 6).
    pub alert: u32,
    /// A constant of [`role`].
    pub role: u32,
    /// A constant of [`socket_source`].
    pub socket_source: u32,
    /// The connection; valid unless [`socket_source::NONE`].
    pub socket: Socket,
}

/// What the process was doing when it removed a session.
pub mod forgot {
    /// Freeing a connection that ended without `close_notify`.
    pub const FREEING: u32 = 1;
    /// Driving a server's handshake: an alert, or an expired session.
    pub const DRIVING: u32 = 2;
    /// Anything else: the application removed it.
    pub const ELSE: u32 = 3;
}

/// A process executed a new program.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExecEvent {
    /// Kind and time.
    pub header: Header,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Number of handshakes that the previous program left open; not exact after evictions.
    pub open: u32,
    /// Name of the new program, which the program may change later; bytes after the first NUL are
    /// undefined.
    pub comm: [u8; 16],
}

/// A process that had driven a handshake ended. Before Linux 6.16 this is the end of its
/// thread-group leader, after which other threads may continue; a later handshake of the process
/// shows that.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExitEvent {
    /// Kind and time.
    pub header: Header,
    /// Process, in the initial PID namespace.
    pub tgid: u32,
    /// Number of handshakes that it left open; not exact after evictions.
    pub open: u32,
}

/// A process that drives handshakes.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TlsProcess {
    /// 1 once a receive happened inside a drive (socket BIOs), else 0.
    pub in_call: u32,
    /// Zero.
    pub reserved: u32,
    /// Handshakes begun minus handshakes ended. An eviction of handshakes makes it too high, an
    /// eviction of this entry too low.
    pub open: i64,
}

/// Key of an open handshake: process and connection object.
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

/// An open handshake.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Open {
    /// Start of the first drive.
    pub begin_ns: u64,
    /// Time inside the library so far, nanoseconds.
    pub library_ns: u64,
    /// Time of the last receive for it; `begin_ns` where there was none.
    pub heard_ns: u64,
    /// Address of the kernel's socket, 0 for none; used as a key only.
    pub skaddr: u64,
    /// Index of the library's [`Layout`].
    pub library: u32,
    /// Number of drives so far.
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
    /// As [`HandshakeEvent::rejected`].
    pub rejected: SessionAge,
    /// As [`HandshakeEvent::rejected_ns`].
    pub rejected_ns: u64,
    /// As [`HandshakeEvent::cgroup`].
    pub cgroup: u64,
}

/// Indexes of the per-CPU counters of lost events, by cause.
pub mod lost {
    /// The ring buffer was full.
    pub const RING_FULL: u32 = 0;
    /// A map refused an entry.
    pub const MAP_FULL: u32 = 1;
    /// Memory of the observed process could not be read.
    pub const READ_FAULT: u32 = 2;
    /// A handshake ended in a call that is not probed; its end time is unknown.
    pub const UNSEEN_END: u32 = 3;
    /// The process had [`super::MAX_OPEN_PER_PROCESS`] open handshakes when another one began.
    pub const TOO_MANY_OPEN: u32 = 4;
    /// Number of counters.
    pub const COUNT: u32 = 5;
}

/// Indexes of the per-CPU counters of entries in the table of open handshakes.
pub mod open_count {
    /// Entries inserted.
    pub const BEGUN: u32 = 0;
    /// Entries removed by the programs.
    pub const ENDED: u32 = 1;
    /// Entries not inserted, since their process had too many.
    pub const REFUSED: u32 = 2;
    /// Number of counters.
    pub const COUNT: u32 = 3;
}

impl OpenKey {
    /// The key of the connection object at `ssl` in process `tgid`.
    #[must_use]
    pub const fn new(tgid: u32, ssl: u64) -> Self {
        Self {
            tgid,
            reserved: 0,
            ssl,
        }
    }
}

impl SessionId {
    /// Maximum length of an ID, bytes: `SSL_MAX_SSL_SESSION_ID_LENGTH` (include/openssl/ssl.h.in).
    pub const MAX: u32 = 32;
}

const _: () = assert!(size_of::<HandshakeEvent>() == 264);
const _: () = assert!(size_of::<ForgetEvent>() == 96);
const _: () = assert!(size_of::<AlertEvent>() == 96);
const _: () = assert!(size_of::<ExecEvent>() == 40);
const _: () = assert!(size_of::<ExitEvent>() == 24);
const _: () = assert!(size_of::<TlsProcess>() == 16);
const _: () = assert!(size_of::<Open>() == 136);
