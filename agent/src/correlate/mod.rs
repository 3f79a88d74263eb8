//! The correlation engine: events in, observations out. Pure and clockless: time is what the events say, so that a
//! recorded stream gives the same observations as the live one.
//!
//! A handshake's end waits for [`SETTLE_NS`] of event time, since the TCP events that explain it travel in another ring;
//! then it is joined with what happened on its connection and leaves as one [`Observation`].

mod cause;
mod history;

use std::collections::VecDeque;

use reprise_ebpf::handshake::{HandshakeEvent, outcome, role};

pub use self::cause::Cause;
use self::history::Histories;
pub use self::history::Retransmits;
use crate::event::{Connection, Event};

/// How long a handshake's end waits for TCP events that happened before it, nanoseconds.
pub const SETTLE_NS: u64 = 200_000_000;
/// Ends that may wait at one time; beyond it the oldest is concluded at once.
const MAX_WAITING: usize = 65_536;

/// Which side the observed process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Accepting side.
    Server,
    /// Connecting side.
    Client,
}

/// Protocol version agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.0.
    V10,
    /// TLS 1.1.
    V11,
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
    /// DTLS, SSL 3.0, or not read.
    Other,
}

/// Whether a session was resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resumption {
    /// Full handshake.
    Full,
    /// Resumed.
    Resumed,
    /// Not read: where the library keeps it was not decoded. Never guessed, and left out of ratios.
    Unknown,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It completed.
    Completed(Resumption),
    /// It did not, for this cause.
    Failed(Cause),
}

/// One finished handshake, joined with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Side of the observed process.
    pub role: Role,
    /// Version agreed on.
    pub version: Version,
    /// How it ended.
    pub end: End,
    /// First drive to end, nanoseconds.
    pub duration_ns: u64,
    /// Time inside the library, nanoseconds.
    pub library_ns: u64,
    /// The connection, where it was found.
    pub connection: Option<Connection>,
    /// Retransmissions that fell into set-up or handshake.
    pub retransmits: Retransmits,
    /// Library error reason, 0 for none.
    pub reason: u32,
    /// Process.
    pub tgid: u32,
}

/// What the engine keeps and what it had to forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Connections with TCP history.
    pub connections: usize,
    /// Histories dropped for room before a handshake claimed them.
    pub evicted_connections: u64,
    /// Handshakes waiting for their TCP events.
    pub waiting: usize,
    /// Handshakes of unknown role, which are counted nowhere else.
    pub unknown_role: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    histories: Histories,
    waiting: VecDeque<HandshakeEvent>,
    now_ns: u64,
    unknown_role: u64,
}

impl Engine {
    /// An engine that remembers TCP history of at most `max_connections` connections.
    #[must_use]
    pub fn new(max_connections: usize) -> Self {
        Self {
            histories: Histories::new(max_connections),
            waiting: VecDeque::new(),
            now_ns: 0,
            unknown_role: 0,
        }
    }

    /// Takes one event; `out` gets every observation that it completes, oldest first.
    pub fn push(&mut self, event: &Event, out: &mut impl FnMut(Observation)) {
        self.now_ns = self.now_ns.max(event.time_ns());
        match event {
            Event::Handshake(handshake) => {
                if self.waiting.len() >= MAX_WAITING {
                    self.conclude_oldest(out);
                }
                self.waiting.push_back(*handshake);
            }
            Event::Tcp(tcp) => self.histories.record(tcp),
            Event::Exec(_) | Event::Tick(_) => {}
        }
        while let Some(oldest) = self.waiting.front()
            && oldest.header.time_ns.saturating_add(SETTLE_NS) <= self.now_ns
        {
            self.conclude_oldest(out);
        }
    }

    /// Concludes everything that waits: the stream has ended.
    pub fn finish(&mut self, out: &mut impl FnMut(Observation)) {
        while !self.waiting.is_empty() {
            self.conclude_oldest(out);
        }
    }

    /// Sizes and losses of the bounded tables.
    #[must_use]
    pub fn tracked(&self) -> Tracked {
        Tracked {
            connections: self.histories.len(),
            evicted_connections: self.histories.evicted(),
            waiting: self.waiting.len(),
            unknown_role: self.unknown_role,
        }
    }

    fn conclude_oldest(&mut self, out: &mut impl FnMut(Observation)) {
        let Some(event) = self.waiting.pop_front() else {
            return;
        };
        let role = match event.role {
            role::SERVER => Role::Server,
            role::CLIENT => Role::Client,
            _ => {
                self.unknown_role += 1;
                return;
            }
        };
        let connection = Connection::of_handshake(&event);
        let history = connection.and_then(|connection| self.histories.take(&connection));
        let history = history.unwrap_or_default();
        let retransmits = history.retransmits(event.begin_ns, event.header.time_ns);
        let end = if event.outcome == outcome::COMPLETED {
            End::Completed(match event.hit {
                0 => Resumption::Full,
                1 => Resumption::Resumed,
                _ => Resumption::Unknown,
            })
        } else {
            End::Failed(cause::of(&event, &history, retransmits))
        };
        out(Observation {
            time_ns: event.header.time_ns,
            role,
            version: Version::from_wire(event.version),
            end,
            duration_ns: event.header.time_ns.saturating_sub(event.begin_ns),
            library_ns: event.library_ns,
            connection,
            retransmits,
            reason: event.reason,
            tgid: event.tgid,
        });
    }
}

impl Role {
    /// Every role, in the order of their index.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl Version {
    /// Every version, in the order of their index.
    pub const ALL: [Self; 5] = [Self::V10, Self::V11, Self::V12, Self::V13, Self::Other];

    /// From the wire's number (RFC 8446, section 4.1.2 and its predecessors).
    #[must_use]
    pub const fn from_wire(version: u32) -> Self {
        match version {
            0x0301 => Self::V10,
            0x0302 => Self::V11,
            0x0303 => Self::V12,
            0x0304 => Self::V13,
            _ => Self::Other,
        }
    }

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
            Self::V13 => "1.3",
            Self::Other => "other",
        }
    }
}

impl Resumption {
    /// All, in the order of their index.
    pub const ALL: [Self; 3] = [Self::Full, Self::Resumed, Self::Unknown];

    /// Whether a sum is shown: what is not known only where it happened.
    #[must_use]
    pub const fn shows(self, sum: u64) -> bool {
        !matches!(self, Self::Unknown) || sum > 0
    }

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
