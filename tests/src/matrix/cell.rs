//! Cells of the matrix: a kind of session and a fault.

use std::fmt;

/// Kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TLS 1.2 with session IDs.
    Id,
    /// TLS 1.2 with tickets.
    Ticket,
    /// TLS 1.3 with tickets that contain the session.
    Stateless,
    /// TLS 1.3 with tickets that name an entry of the server's cache.
    Stateful,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Id, Self::Ticket, Self::Stateless, Self::Stateful];

    /// Whether the server stores the session.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Id | Self::Stateful)
    }

    /// Whether the version is TLS 1.3.
    #[must_use]
    pub const fn is_tls13(self) -> bool {
        matches!(self, Self::Stateless | Self::Stateful)
    }

    /// Version of TLS.
    #[must_use]
    pub const fn version(self) -> &'static str {
        if self.is_tls13() { "1.3" } else { "1.2" }
    }
}

/// Fault of the server or its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault: sessions are resumed.
    Nothing,
    /// The server issues sessions that it does not store.
    CacheOff,
    /// The cache holds fewer sessions than there are clients.
    CacheTooSmall,
    /// Clients return after the session's lifetime.
    LifetimeTooShort,
    /// The server reads its configuration again.
    Reload,
    /// The server stops and starts again.
    Restart,
    /// Each worker has a cache of its own.
    WorkerCaches,
    /// Each worker has a ticket key of its own.
    WorkerKeys,
    /// The ticket key is replaced.
    KeyRotated,
    /// Clients move to another node that shares neither cache nor keys.
    SecondNode,
    /// The server creates a TLS context for each connection.
    ContextPerConnection,
    /// The server closes connections without `close_notify`.
    UncleanClose,
    /// Clients reset their connections.
    ClientResets,
    /// Clients request another server name.
    OtherName,
    /// The server changes its cipher suites.
    OtherCipher,
    /// The server's clock is stepped by three days.
    ClockStep,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 16] = [
        Self::Nothing,
        Self::CacheOff,
        Self::CacheTooSmall,
        Self::LifetimeTooShort,
        Self::Reload,
        Self::Restart,
        Self::WorkerCaches,
        Self::WorkerKeys,
        Self::KeyRotated,
        Self::SecondNode,
        Self::ContextPerConnection,
        Self::UncleanClose,
        Self::ClientResets,
        Self::OtherName,
        Self::OtherCipher,
        Self::ClockStep,
    ];
}

/// One cell of a server's matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Kind of session.
    pub kind: Kind,
    /// Fault.
    pub fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Id => "session ID",
            Kind::Ticket => "TLS 1.2 ticket",
            Kind::Stateless => "TLS 1.3 stateless",
            Kind::Stateful => "TLS 1.3 stateful",
        };
        let fault = match self.fault {
            Fault::Nothing => "nothing wrong",
            Fault::CacheOff => "cache off",
            Fault::CacheTooSmall => "cache too small",
            Fault::LifetimeTooShort => "lifetime too short",
            Fault::Reload => "reload",
            Fault::Restart => "restart",
            Fault::WorkerCaches => "per-worker caches",
            Fault::WorkerKeys => "per-worker keys",
            Fault::KeyRotated => "key rotated",
            Fault::SecondNode => "second node",
            Fault::ContextPerConnection => "context per connection",
            Fault::UncleanClose => "server closes uncleanly",
            Fault::ClientResets => "client resets",
            Fault::OtherName => "other name",
            Fault::OtherCipher => "other cipher",
            Fault::ClockStep => "clock step",
        };
        write!(f, "{fault}, {kind}")
    }
}

/// Reasons that are true for the fault with most servers: none where no session is missed, `None`
/// where the fault does not affect this kind of session.
#[must_use]
pub(super) fn usual_truth(cell: Cell) -> Option<&'static [&'static str]> {
    let entry = cell.kind.is_entry();
    Some(match cell.fault {
        Fault::Nothing => &[],
        Fault::CacheOff if entry => &["not_stored"],
        Fault::CacheTooSmall if entry => &["evicted"],
        Fault::LifetimeTooShort => &["expired"],
        Fault::Reload | Fault::Restart => &["restarted"],
        Fault::WorkerCaches if entry => &["other_process"],
        Fault::WorkerKeys if !entry => &["other_process"],
        Fault::KeyRotated if !entry => &["retired_key"],
        Fault::SecondNode if entry => &["foreign_id"],
        Fault::SecondNode => &["foreign_key"],
        Fault::ContextPerConnection if entry => &["not_stored"],
        Fault::ContextPerConnection => &["retired_key"],
        Fault::UncleanClose | Fault::ClientResets if entry => &["removed"],
        // No server can remove a session that the ticket contains.
        Fault::ClientResets => &[],
        Fault::OtherName => &["refused"],
        Fault::OtherCipher if cell.kind == Kind::Stateless => &["refused"],
        Fault::ClockStep => &["clock"],
        _ => return None,
    })
}
