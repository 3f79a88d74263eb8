//! A handshake with a service on this host, as its clients are judged by it.

use crate::{
    model::{MissReason, Observation, Offer, Outcome, Resumption, Token},
    pipeline::{diagnose::SessionOrigin, stats::given::Given},
};

/// What a client offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// No session.
    Nothing,
    /// A session of the service.
    OfService,
    /// A session that no service here is known to have issued.
    NotIssued(Token),
    /// Another session, or its ClientHello was not read.
    Unclear,
}

/// One handshake of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visit {
    /// Its end, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) time_ns: u64,
    /// It completed.
    pub(super) completed: bool,
    /// The client abandoned it, without evidence of packet loss.
    pub(super) abandoned: bool,
    /// What the client offered.
    pub(super) offered: Offered,
    /// The service gave the client a session that takes space in a cache, or a ticket.
    pub(super) given: bool,
    /// The offered session was evicted from a cache.
    pub(super) evicted: bool,
}

impl Visit {
    pub(super) fn from_observation(seen: &Observation) -> Self {
        let completed = matches!(seen.outcome, Outcome::Completed(_));
        let given = seen.hello.as_ref().map(Given::from_hello);
        let reason = seen.miss.map(|miss| miss.reason);
        Self {
            time_ns: seen.time_ns,
            completed,
            abandoned: seen.outcome.is_abandoned_by_peer(),
            offered: offered(seen),
            given: completed && given == Some(Given::Session),
            evicted: reason == Some(MissReason::Evicted),
        }
    }
}

fn offered(seen: &Observation) -> Offered {
    if seen.outcome == Outcome::Completed(Resumption::Resumed) {
        return Offered::OfService;
    }
    let mechanism = match seen.offer {
        Offer::Unknown | Offer::ExternalPsk => return Offered::Unclear,
        Offer::Nothing => return Offered::Nothing,
        Offer::Session(mechanism) => mechanism,
    };
    let origin = seen.miss.as_ref().map(SessionOrigin::of_missed);
    let token = seen.hello.and_then(|hello| hello.offered(mechanism));
    match (origin, token) {
        (Some(SessionOrigin::Service), _) => Offered::OfService,
        (Some(SessionOrigin::NotIssued), Some(token)) => Offered::NotIssued(token),
        _ => Offered::Unclear,
    }
}
