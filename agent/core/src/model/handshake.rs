//! Ended handshakes, as one sensor reports them.

use super::{
    Alert, CgroupId, ClientRandom, Connection, HelloFacts, Resumption, Role, SessionAge, Version,
};

/// How a handshake ended on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireEnd {
    /// Both sides finished.
    Completed,
    /// The peer sent a fatal alert.
    AlertReceived,
    /// This host sent a fatal alert.
    AlertSent,
    /// The peer closed the connection.
    ClosedByPeer,
    /// This host closed the connection.
    ClosedHere,
    /// A reset passed, in either direction.
    Reset,
    /// Not followed to its end: stream lost, timed out, or evicted.
    Unknown,
}

/// A handshake, as the `wire` sensor reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireHandshake {
    /// Side of this host.
    pub role: Role,
    /// Control group of the socket.
    pub cgroup: Option<CgroupId>,
    /// The connection.
    pub connection: Option<Connection>,
    /// How it ended.
    pub end: WireEnd,
    /// The alert that ended it, where it was sent in clear.
    pub alert: Option<Alert>,
    /// Smoothed round-trip time, microseconds; `None` where TCP has not measured it.
    pub rtt_us: Option<u32>,
    /// Silence on the connection before the end, nanoseconds.
    pub silence_ns: u64,
    /// Facts of the hello messages.
    pub hello: HelloFacts,
}

/// How a handshake ended in a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryEnd {
    /// The state machine reached its final state.
    Completed,
    /// A call returned an error.
    Failed,
    /// The program freed the connection object, or reused it.
    Dropped,
    /// The process ended.
    ProcessEnded,
}

/// How the socket of a library's handshake was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketSource {
    /// The thread received on it inside the library's call.
    InCall,
    /// The thread's last receive before the call: programs with memory BIOs.
    BeforeCall,
}

/// A handshake, as the `handshake` sensor reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryHandshake {
    /// First call, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// End, nanoseconds.
    pub end_ns: u64,
    /// When the program last received data for it, nanoseconds; the beginning where it never did.
    pub heard_ns: u64,
    /// Time inside the library, nanoseconds.
    pub library_ns: u64,
    /// Process.
    pub tgid: u32,
    /// Control group of the process.
    pub cgroup: Option<CgroupId>,
    /// Side of the process; `None` where it was not read.
    pub role: Option<Role>,
    /// Version agreed on.
    pub version: Version,
    /// How it ended.
    pub end: LibraryEnd,
    /// Whether it resumed a session, by the library's field.
    pub resumption: Resumption,
    /// Library error reason.
    pub reason: Option<u32>,
    /// The connection, where it was found.
    pub connection: Option<Connection>,
    /// How the connection was found.
    pub socket_source: Option<SocketSource>,
    /// `random` of the ClientHello; `None` where it was not read, or before a ClientHello.
    pub client_random: Option<ClientRandom>,
    /// The peer sent FIN while it ran.
    pub peer_closed: bool,
    /// The socket was closed (FIN, reset or timeout) while it ran.
    pub socket_closed: bool,
    /// The library sent data after its error: an alert.
    pub alert_sent: bool,
    /// Session that it created or resumed.
    pub session: SessionAge,
    /// Hash of that session's ID, as in [`super::Token::hash`].
    pub session_id: Option<u64>,
    /// Whether the release of sessions is observed: without one, the look-up found no session.
    pub lookups_observed: bool,
    /// Session that the server released during the handshake, and when, nanoseconds.
    pub released: Option<ReleasedSession>,
}

/// A session that a server released during a handshake: if before its answer, one that it looked up
/// and rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleasedSession {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Age of the session.
    pub age: SessionAge,
}

impl WireHandshake {
    /// Whether both sides finished.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.end == WireEnd::Completed
    }
}
