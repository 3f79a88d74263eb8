//! What completed handshakes show about the size and lifetime that a cache needs.

use super::{
    keys,
    tables::{Server, Tables},
};
use crate::{
    model::{HelloFacts, Mechanism, MissReason, Observation, Offer, Outcome, Resumption, Token},
    pipeline::sizing::{Handshake, ServiceHandshake, TicketOffer},
};

/// Whether a larger cache may have had the session.
const fn may_be_evicted(reason: MissReason) -> bool {
    matches!(reason, MissReason::Evicted | MissReason::Unknown)
}

/// Whether no cache of any size and lifetime would have had the session. Removed sessions are
/// simulated, and a restart is an event of its own.
const fn has_other_cause(reason: MissReason) -> bool {
    match reason {
        MissReason::Evicted
        | MissReason::Expired
        | MissReason::Removed
        | MissReason::Restarted
        | MissReason::Unknown => false,
        MissReason::NotStored
        | MissReason::OtherProcess
        | MissReason::Refused
        | MissReason::ForeignId
        | MissReason::ForeignKey
        | MissReason::RetiredKey
        | MissReason::Clock => true,
    }
}

impl Tables {
    /// Records a completed handshake of a server, after everything else was learned from it.
    pub(super) fn record_sizing(
        &mut self,
        seen: &Observation,
        hello: &HelloFacts,
        server: &Server,
    ) {
        let Outcome::Completed(resumption) = seen.outcome else {
            return;
        };
        let service = self.services.root(server.service);
        let state = self.state(service);
        let resumed = resumption == Resumption::Resumed;
        let offer = match seen.offer {
            Offer::Session(mechanism) => self.offered_session(hello, server, mechanism, resumed),
            Offer::Unknown | Offer::Nothing | Offer::ExternalPsk => None,
        };
        let single_use = hello.is_tls13();
        let stored = if single_use {
            server.session.id.filter(|_| state.stateful)
        } else {
            let by_id = !resumed && hello.issued_ticket.is_none();
            hello.issued_id.filter(|_| by_id).map(|id| id.hash)
        };
        let entry = offer.and_then(|(token, ticket)| ticket.is_none().then_some(token.hash));
        let reason = seen.miss.map(|miss| miss.reason);
        let cache = Handshake {
            time_ns: seen.time_ns,
            offered: entry,
            stored,
            resumed,
            single_use,
            may_be_evicted: reason.is_some_and(may_be_evicted),
            restarted: reason == Some(MissReason::Restarted),
            other_cause: reason.is_some_and(has_other_cause),
            lifetime_ns: state.lifetime_ns,
        };
        let handshake = ServiceHandshake {
            port: state.port,
            process: seen.tgid,
            cgroup: seen.cgroup,
            resumption,
            tls13: single_use,
            library_ns: seen.library().map(|library| library.library_ns),
            cache,
            ticket: offer.and_then(|(_, ticket)| ticket),
        };
        self.sizing.record(service, &handshake);
    }

    /// The offered session, and what is known of it if it is a ticket.
    fn offered_session(
        &self,
        hello: &HelloFacts,
        server: &Server,
        mechanism: Mechanism,
        resumed: bool,
    ) -> Option<(Token, Option<TicketOffer>)> {
        let token = if resumed {
            hello.accepted(mechanism)
        } else {
            hello.offered(mechanism)
        }?;
        let is_entry = mechanism == Mechanism::SessionId
            || (mechanism == Mechanism::Psk && token.key.is_none());
        if is_entry {
            return Some((token, None));
        }
        let issued = self.sessions.get(token.hash);
        let service = self.services.root(server.service);
        let key = keys::key_of(&token).filter(|_| self.names_keys(server));
        let ticket = TicketOffer {
            age_ns: issued.map(|issued| hello.begin_ns.saturating_sub(issued.at_ns)),
            keys_back: key.and_then(|key| self.keys.newer(service, key)),
        };
        Some((token, Some(ticket)))
    }
}
