//! Observations: an ended handshake joined with the evidence of the other sensors.

use std::sync::Arc;

use super::{cause, session};
use crate::model::{
    Alert, Connection, Direction, EarlyDataOutcome, HelloFlags, LibraryEnd, LibraryFacts,
    LibraryHandshake, NetworkEvidence, Observation, Offer, Outcome, Resumption, Role, SocketSource,
    Source, Version, WireEnd, WireHandshake,
};

/// A library's handshake, with the `wire` sensor's record of the same handshake.
#[derive(Debug)]
pub(super) struct EndedHandshake {
    pub(super) library: Box<LibraryHandshake>,
    pub(super) role: Role,
    pub(super) wire: Option<Arc<WireHandshake>>,
}

impl EndedHandshake {
    /// The connection. The wire's is certain; the library's may be a guess.
    pub(super) fn connection(&self) -> Option<Connection> {
        let library = self.library.connection;
        match &self.wire {
            Some(wire) if self.library.socket_source != Some(SocketSource::InCall) => {
                wire.connection.or(library)
            }
            _ => library,
        }
    }

    /// The wire's record, if it holds the ClientHello.
    pub(super) fn hello_read(&self) -> Option<&WireHandshake> {
        let wire = self.wire.as_deref();
        wire.filter(|wire| wire.hello.has(HelloFlags::OFFER_READ))
    }

    /// Whether it completed: in the library, or after the program had answered early data and
    /// closed without waiting for the client's Finished.
    pub(super) fn completed(&self) -> bool {
        self.library.end == LibraryEnd::Completed || self.answered_early()
    }

    fn answered_early(&self) -> bool {
        let accepted = |wire: &WireHandshake| {
            wire.is_completed() && wire.hello.early_data == Some(EarlyDataOutcome::Accepted)
        };
        self.library.end == LibraryEnd::Dropped && self.wire.as_deref().is_some_and(accepted)
    }

    /// Adds to `network` what only the wire shows.
    pub(super) fn complete_evidence(&self, network: &mut NetworkEvidence) {
        network.closed_by_peer = network.resets_received > 0 || self.closed_by_peer();
        let Some(wire) = &self.wire else { return };
        if self.hello_read().is_some()
            && cause::hello_was_late(&self.library, &wire.hello, wire.rtt_us)
        {
            network.stalls = network.stalls.max(1);
        }
    }

    /// Whether the peer closed its certain connection before the handshake ended.
    fn closed_by_peer(&self) -> bool {
        let is_certain =
            self.library.socket_source == Some(SocketSource::InCall) || self.wire.is_some();
        is_certain && cause::closed_by_peer(&self.library, self.wire.as_deref())
    }

    /// How it ended, given the evidence of its connection.
    pub(super) fn outcome(&self, network: &NetworkEvidence) -> Outcome {
        if self.answered_early() {
            return Outcome::Completed(Resumption::Resumed);
        }
        if self.completed() {
            let external = self
                .hello_read()
                .is_some_and(|wire| wire.hello.accepted_external());
            return Outcome::Completed(match self.library.resumption {
                Resumption::Resumed if external => Resumption::ExternalPsk,
                resumption => resumption,
            });
        }
        let cause = cause::from_library(&self.library, network, self.wire.as_deref());
        Outcome::Failed(cause)
    }

    /// Whether wire and library disagree on whether a session was resumed.
    fn conflict(&self) -> bool {
        let by_library = match self.library.resumption {
            Resumption::Unknown => return false,
            resumption => resumption == Resumption::Resumed,
        };
        let by_wire = self.wire.as_ref().and_then(|wire| wire.hello.resumed());
        self.completed() && by_wire.is_some_and(|by_wire| by_wire != by_library)
    }

    /// The observation, before it is diagnosed.
    pub(super) fn observation(&self, network: NetworkEvidence, offer: Offer) -> Observation {
        let library = &self.library;
        let hello = self.hello_read().map(|wire| wire.hello);
        let by_reason = library.reason.and_then(cause::received_alert);
        let by_reason = by_reason.map(|description| Alert {
            description,
            direction: Direction::Received,
        });
        Observation {
            time_ns: library.end_ns,
            duration_ns: library.end_ns.saturating_sub(library.begin_ns),
            role: self.role,
            tgid: Some(library.tgid),
            cgroup: library.cgroup.or_else(|| self.wire.as_ref()?.cgroup),
            version: library.version,
            outcome: self.outcome(&network),
            connection: self.connection(),
            network,
            source: Source::Library(LibraryFacts {
                library_ns: library.library_ns,
                reason: library.reason,
                session: session::from_library(library, hello.as_ref()),
            }),
            offer,
            hello,
            alert: by_reason.or_else(|| self.wire.as_ref()?.alert),
            conflict: self.conflict(),
            miss: None,
        }
    }
}

/// Observation of a handshake that only the wire showed, before it is diagnosed; `None` where its
/// end was not followed, so that its outcome is not known.
pub(super) fn from_wire(
    handshake: &WireHandshake,
    network: NetworkEvidence,
    offer: Offer,
) -> Option<Observation> {
    let hello = &handshake.hello;
    let outcome = match (handshake.end, hello.resumed()) {
        (WireEnd::Completed, Some(true)) if hello.accepted_external() => {
            Outcome::Completed(Resumption::ExternalPsk)
        }
        (WireEnd::Completed, Some(resumed)) => {
            Outcome::Completed(Resumption::from_resumed(resumed))
        }
        (WireEnd::Completed | WireEnd::Unknown, _) => return None,
        _ => Outcome::Failed(cause::from_wire(handshake, &network)),
    };
    Some(Observation {
        time_ns: hello.end_ns,
        duration_ns: hello.end_ns.saturating_sub(hello.begin_ns),
        role: handshake.role,
        tgid: None,
        cgroup: handshake.cgroup,
        version: hello.version.unwrap_or(Version::Other),
        outcome,
        connection: handshake.connection,
        network,
        source: Source::Wire,
        offer,
        hello: Some(*hello),
        alert: handshake.alert,
        conflict: false,
        miss: None,
    })
}
