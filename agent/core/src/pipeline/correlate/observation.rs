//! What the engine makes of events: one observation per handshake.

use super::{
    cause::Cause,
    offer::{Mechanism, Offer},
    trouble::Trouble,
};
use crate::pipeline::{
    diagnose::{Miss, Reason, offered, taken},
    event::Connection,
    wire::HelloEvent,
};

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
    /// What speaks for loss, and what TCP did otherwise.
    pub trouble: Trouble,
    /// Library error reason, 0 for none.
    pub reason: u32,
    /// Process; 0 where it was seen on the wire alone.
    pub tgid: u32,
    /// What the client offered to resume.
    pub offer: Offer,
    /// What both sides said on the wire, where that was seen.
    pub hello: Option<HelloEvent>,
    /// Wire and library disagree whether a session was resumed.
    pub conflict: bool,
    /// Told by the wire alone: no library that is observed made it.
    pub wire: bool,
    /// Why the session offered was not resumed, where one was and was not.
    pub miss: Option<Miss>,
}

/// What became of the session that a client may have offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// None was offered.
    NotOffered,
    /// Resumed.
    Accepted(Mechanism),
    /// A full handshake instead, for this reason.
    Missed(Mechanism, Reason),
}

impl Observation {
    /// What became of its offer; `None` of a handshake that failed, or where either is not known.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        let End::Completed(resumption) = self.end else {
            return None;
        };
        match (self.offer, resumption) {
            (Offer::Unknown, _) | (Offer::Session(_), Resumption::Unknown) => None,
            (Offer::Nothing, _) => Some(Fate::NotOffered),
            (Offer::Session(mechanism), Resumption::Resumed) => Some(Fate::Accepted(mechanism)),
            (Offer::Session(mechanism), Resumption::Full) => {
                let reason = self.miss.map_or(Reason::Unknown, |miss| miss.reason);
                Some(Fate::Missed(mechanism, reason))
            }
        }
    }

    /// Key of the ticket that the client offered, and whether it was accepted; `None` without a ticket. Of several PSKs the
    /// accepted one, or the first.
    #[must_use]
    pub fn ticket_key(&self) -> Option<(u32, bool)> {
        let (Offer::Session(mechanism), End::Completed(resumption)) = (self.offer, self.end) else {
            return None;
        };
        let hello = self.hello.as_ref()?;
        let accepted = resumption == Resumption::Resumed;
        let token = if accepted {
            taken(hello, mechanism)
        } else {
            offered(hello, mechanism)
        };
        (token.key != 0).then_some((token.key, accepted))
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

    /// Which of both.
    #[must_use]
    pub const fn of(resumed: bool) -> Self {
        if resumed { Self::Resumed } else { Self::Full }
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
