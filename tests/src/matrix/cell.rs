//! Cells of the matrix: a kind of sessions and a fault.

use std::fmt;

/// How sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TLS 1.2 by session ID.
    Id,
    /// TLS 1.2 by ticket.
    Ticket,
    /// TLS 1.3 by a ticket that holds the session.
    Stateless,
    /// TLS 1.3 by a ticket that is the name of a cache entry.
    Stateful,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Id, Self::Ticket, Self::Stateless, Self::Stateful];

    /// Whether the server keeps the session.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Id | Self::Stateful)
    }

    /// Whether it is a kind of TLS 1.3.
    #[must_use]
    pub const fn is_tls13(self) -> bool {
        matches!(self, Self::Stateless | Self::Stateful)
    }

    /// The version of TLS.
    #[must_use]
    pub const fn version(self) -> &'static str {
        if self.is_tls13() { "1.3" } else { "1.2" }
    }
}

/// What is wrong with the server or its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Sessions are resumed.
    Nothing,
    /// The server gives sessions that it does not store.
    CacheOff,
    /// The cache holds fewer sessions than there are clients.
    CacheTooSmall,
    /// Clients return after the session's lifetime.
    LifetimeTooShort,
    /// The configuration is read again.
    Reload,
    /// The server ends and is started again.
    Restart,
    /// Each worker has a cache of its own.
    WorkerCaches,
    /// Each worker has a ticket key of its own.
    WorkerKeys,
    /// The ticket key is replaced.
    KeyRotated,
    /// Clients go to another node that shares nothing.
    SecondNode,
    /// The server makes a TLS context for each connection.
    ContextPerConnection,
    /// The server hangs up without `close_notify`.
    UncleanClose,
    /// Clients reset their connections.
    ClientResets,
    /// Clients ask for another name.
    OtherName,
    /// The server changes to another cipher.
    OtherCipher,
    /// The server's clock is stepped by two hours.
    ClockStep,
}

impl Fault {
    /// All of them.
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
    /// The kind of sessions.
    pub kind: Kind,
    /// What is wrong.
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

/// The reasons that are true of a fault by itself: none where nothing is missed, and `None` where
/// the fault does not concern this kind of sessions.
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
        // A session in a ticket is not removed, whatever happens to its connection.
        Fault::ClientResets => &[],
        Fault::OtherName => &["refused"],
        Fault::OtherCipher if cell.kind == Kind::Stateless => &["refused"],
        Fault::ClockStep => &["clock"],
        _ => return None,
    })
}
