//! Diagnosis of a server's miss.

use super::{
    facts::{Age, FULL_RANK, Issuer, Offered},
    input,
    process::Relation,
    rules::{self, LOW_RANK},
    tables::{Server, Tables, entry_kind},
    undecided::UndecidedMiss,
};
use crate::model::{Connection, Evidence, HelloFacts, Lookup, Mechanism, Miss, MissReason};

impl Tables {
    /// The reason why this server missed the session that was offered by `mechanism`. Without a
    /// reason, the facts by which it may be found later.
    pub(super) fn diagnose_server(
        &mut self,
        server: &Server,
        hello: &HelloFacts,
        mechanism: Mechanism,
    ) -> (Miss, Option<UndecidedMiss>) {
        let Some(token) = hello.offered(mechanism) else {
            return (self.miss_without_token(server), None);
        };
        self.observe_clock(server, hello);
        if mechanism == Mechanism::Psk && token.key.is_none() {
            self.services
                .change(server.service, |state| state.stateful = true);
        }
        let first = self.offer(server, hello, mechanism, &token);
        self.learn_from_miss(server, hello, &first);
        let offer = self.offer(server, hello, mechanism, &token);
        let rule = rules::decide(&offer.input);
        let issuer = offer.issued.and_then(|issued| issued.process);
        let service = self.services.root(server.service);
        let key_used_by = offer
            .key
            .and_then(|key| self.keys.get(service, key)?.users().next());
        let library_age_ns = match server.session.lookup {
            Lookup::Rejected { age_ns, .. } => age_ns.and_then(|age| u64::try_from(age).ok()),
            _ => None,
        };
        let age_ns = match rule.reason {
            MissReason::Clock => offer.age_ns,
            _ => library_age_ns.or(offer.age_ns),
        };
        let storage = self.state(service).storage[entry_kind(hello)];
        let entry = offer.input.offered == Offered::Entry;
        let evidence = Evidence {
            rule: rule.name,
            process: server.process.map(|process| process.tgid),
            issued_by: issuer.map(|process| process.tgid),
            issuer_ended: issuer
                .and_then(|process| self.processes.has_ended(process, hello.begin_ns)),
            rank: offer.input.rank.filter(|_| entry),
            accepted_rank: (entry && storage.accepted > 0).then_some(storage.max_rank),
            age_ns,
            lifetime_ns: offer.lifetime_ns,
            key: offer.key,
            key_used_by: key_used_by.map(|process| process.tgid),
            per_connection_keys: !entry && self.has_key_per_connection(service),
            removal: offer.removed,
            clock_step_ns: offer.step_ns,
        };
        let miss = Miss {
            reason: rule.reason,
            evidence,
            age_ns,
            lifetime_ns: offer.lifetime_ns,
            service: Some(server.service),
            lossy: rule.reason == MissReason::Removed
                && offer.issued.is_some_and(|issued| issued.lossy),
        };
        (miss, self.undecided(server, hello, mechanism, &offer))
    }

    /// What the client shows about its miss. If the server is on this host, its verdict on the same
    /// handshake replaces this one later (`correlate`).
    pub(super) fn diagnose_client(
        &self,
        hello: &HelloFacts,
        connection: Option<&Connection>,
    ) -> Miss {
        let tokens = [hello.session_id, hello.ticket];
        let mut issued = tokens.iter().flatten();
        let issued = issued.find_map(|token| self.sessions.get_client(token.hash));
        let age_ns = issued.map(|issued| hello.begin_ns.saturating_sub(issued.at_ns));
        let lifetime_ns = issued.and_then(|issued| issued.lifetime_ns);
        let (reason, rule) = if input::age(age_ns, lifetime_ns) == Age::Over {
            (MissReason::Expired, "client_observed_expired")
        } else {
            (MissReason::Unknown, "client_not_enough_evidence")
        };
        let service =
            connection.and_then(|connection| self.services.at(&connection.end(connection.remote)));
        Miss {
            reason,
            evidence: Evidence {
                rule,
                age_ns,
                lifetime_ns,
                ..Evidence::default()
            },
            age_ns,
            lifetime_ns,
            service,
            lossy: false,
        }
    }

    fn miss_without_token(&self, server: &Server) -> Miss {
        Miss {
            reason: MissReason::Unknown,
            evidence: Evidence {
                rule: rules::UNDECIDED,
                process: server.process.map(|process| process.tgid),
                ..Evidence::default()
            },
            age_ns: None,
            lifetime_ns: self.state(server.service).lifetime_ns,
            service: Some(server.service),
            lossy: false,
        }
    }

    /// Counts what a miss in the issuing process itself shows about the service's storage.
    fn learn_from_miss(&mut self, server: &Server, hello: &HelloFacts, offer: &input::Offer) {
        let input = &offer.input;
        let own = input.offered == Offered::Entry
            && input.issuer == Issuer::Process(Relation::Same)
            && input.lookup == Lookup::NotFound
            && input.age == Age::Within
            && input.considered
            && input.removed.is_none()
            && !input.used_up;
        let Some(rank) = input.rank.filter(|_| own) else {
            return;
        };
        let kind = entry_kind(hello);
        if let Some(issued) = offer.issued
            && let Some(process) = server.process
            && let Some(distance) = self.distance(&issued, kind, hello.begin_ns)
        {
            self.processes.change_history(process, kind, |cache| {
                cache.miss(issued.used_ns, hello.begin_ns, distance);
            });
        }
        self.services.change(server.service, |state| {
            let storage = &mut state.storage[kind];
            if rank <= LOW_RANK {
                storage.low_misses += 1;
            } else if rank >= FULL_RANK {
                let lowest = storage
                    .high_miss_rank
                    .map_or(rank, |lowest| lowest.min(rank));
                storage.high_miss_rank = Some(lowest);
            }
        });
    }
}
