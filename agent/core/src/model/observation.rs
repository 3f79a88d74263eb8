//! Handshake observation: a handshake joined with what every sensor reported about it.

use super::{
    Alert, CgroupId, Connection, FailureCause, HelloFacts, KeyName, Mechanism, Miss, MissReason,
    NetworkEvidence, Offer, Outcome, Resumption, Role, SessionFacts, Version,
};

/// Which sensor reported a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A TLS library, observed by uprobes.
    Library(LibraryFacts),
    /// Only the packets: no observed library made it.
    Wire,
}

/// Facts that only the library reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LibraryFacts {
    /// Time inside the library, nanoseconds.
    pub library_ns: u64,
    /// Library error reason.
    pub reason: Option<u32>,
    /// Session facts.
    pub session: SessionFacts,
}

/// One ended handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Time from its beginning to its end, nanoseconds.
    pub duration_ns: u64,
    /// Side of the observed process.
    pub role: Role,
    /// Process; `None` where no sensor reported it.
    pub tgid: Option<u32>,
    /// Control group of the process or of its socket; `None` where no sensor reported it.
    pub cgroup: Option<CgroupId>,
    /// Version agreed on.
    pub version: Version,
    /// How it ended.
    pub outcome: Outcome,
    /// The connection, where it was found.
    pub connection: Option<Connection>,
    /// What TCP did on the connection.
    pub network: NetworkEvidence,
    /// Which sensor reported it.
    pub source: Source,
    /// What the client offered to resume.
    pub offer: Offer,
    /// Facts of the hello messages, where the `wire` sensor read them.
    pub hello: Option<HelloFacts>,
    /// The alert that ended it, where its description is known.
    pub alert: Option<Alert>,
    /// Wire and library disagree on whether a session was resumed.
    pub conflict: bool,
    /// Why the offered session was not resumed, if that is what happened.
    pub miss: Option<Miss>,
}

/// What became of a handshake's offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferOutcome {
    /// The ClientHello was not read, or whether the server resumed the session was not.
    Unknown,
    /// The client offered no session.
    NotOffered,
    /// The server selected an external PSK.
    ExternalAccepted,
    /// The client offered external PSKs only, and the server made a full handshake.
    ExternalMissed,
    /// The client offered external PSKs only, and the handshake failed.
    ExternalFailed,
    /// The server resumed the session.
    Accepted(Mechanism),
    /// The server made a full handshake instead, for this reason.
    Missed(Mechanism, MissReason),
    /// The handshake failed, for this cause.
    Failed(Mechanism, FailureCause),
}

impl Observation {
    /// Facts that only the library reports.
    #[must_use]
    pub const fn library(&self) -> Option<&LibraryFacts> {
        match &self.source {
            Source::Library(facts) => Some(facts),
            Source::Wire => None,
        }
    }

    /// What became of its offer; `None` for a failed handshake that is not known to have offered a
    /// session.
    #[must_use]
    pub fn offer_outcome(&self) -> Option<OfferOutcome> {
        let completed = match self.outcome {
            Outcome::Completed(resumption) => resumption,
            Outcome::Failed(cause) => {
                return match self.offer {
                    Offer::Session(mechanism) => Some(OfferOutcome::Failed(mechanism, cause)),
                    Offer::ExternalPsk => Some(OfferOutcome::ExternalFailed),
                    Offer::Unknown | Offer::Nothing => None,
                };
            }
        };
        Some(match (self.offer, completed) {
            (_, Resumption::ExternalPsk) => OfferOutcome::ExternalAccepted,
            (Offer::Unknown, _) | (Offer::Session(_), Resumption::Unknown) => OfferOutcome::Unknown,
            (Offer::ExternalPsk, Resumption::Full) => OfferOutcome::ExternalMissed,
            (Offer::ExternalPsk, _) => OfferOutcome::Unknown,
            (Offer::Nothing, _) => OfferOutcome::NotOffered,
            (Offer::Session(mechanism), Resumption::Resumed) => OfferOutcome::Accepted(mechanism),
            (Offer::Session(mechanism), Resumption::Full) => {
                let reason = self.miss.map_or(MissReason::Unknown, |miss| miss.reason);
                OfferOutcome::Missed(mechanism, reason)
            }
        })
    }

    /// Key name of the offered ticket, and whether the server accepted the ticket; `None` without a
    /// ticket. Of several PSKs, the accepted one or else the first.
    #[must_use]
    pub fn ticket_key(&self) -> Option<(KeyName, bool)> {
        let (Offer::Session(mechanism), Outcome::Completed(resumption)) =
            (self.offer, self.outcome)
        else {
            return None;
        };
        let hello = self.hello.as_ref()?;
        let accepted = resumption == Resumption::Resumed;
        let token = if accepted {
            hello.accepted(mechanism)
        } else {
            hello.offered(mechanism)
        };
        Some((token?.key?, accepted))
    }
}
