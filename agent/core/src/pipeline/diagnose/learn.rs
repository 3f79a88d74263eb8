//! What completed handshakes show about a service: sessions and keys that it issued or accepted.

use super::{
    client::{ClientId, ClientIssuer},
    keys,
    process::Relation,
    sessions::{IssuedSession, Serials},
    tables::{Server, Tables, entry_kind},
};
use crate::model::{
    Change, ChangeDetail, HelloFacts, Mechanism, Observation, Offer, Outcome, Removal, Resumption,
    Token,
};

impl Tables {
    /// Records what a server accepted and issued.
    pub(super) fn learn(&mut self, seen: &Observation, hello: &HelloFacts, server: &Server) {
        let now_ns = seen.time_ns;
        let resumed = seen.outcome == Outcome::Completed(Resumption::Resumed);
        if !resumed {
            self.observe_clock(server, hello);
        }
        let session = server.session;
        let lifetime_ns = session.age.lifetime_ns;
        self.services.change(server.service, |state| {
            state.lifetime_ns = lifetime_ns.or(state.lifetime_ns);
            state.issues_ids |= hello.issued_id.is_some() && !hello.is_tls13() && !resumed;
            state.issues_tickets |= hello.issued_ticket.is_some();
        });
        let offered = match seen.offer {
            Offer::Session(mechanism) => Some(mechanism),
            _ => None,
        };
        if resumed && let Some(mechanism) = offered {
            self.learn_acceptance(seen, hello, server, mechanism);
        }
        let issued_before = self.learn_issues(hello, server, now_ns, resumed);
        if issued_before
            && let Some(token) = offered.and_then(|mechanism| hello.offered(mechanism))
            && let Some(issued) = self.sessions.get_mut(token.hash)
        {
            issued.replaced = true;
        }
        if hello.is_tls13() {
            let issuer = ClientIssuer {
                service: server.service,
                process: server.process,
                last_ns: now_ns,
            };
            self.clients
                .record(ClientId::from_connection(&server.connection), issuer);
        }
    }

    /// Records the reading of the server's clock that a full handshake shows.
    pub(super) fn observe_clock(&mut self, server: &Server, hello: &HelloFacts) {
        let Some(created_ns) = server.session.age.created_ns else {
            return;
        };
        let at_ns = hello.begin_ns;
        let wall_ns = self
            .wall_minus_monotonic_ns
            .and_then(|offset| at_ns.checked_add_signed(offset));
        let skew_ns =
            wall_ns.and_then(|wall| i64::try_from(created_ns).ok()?.checked_sub_unsigned(wall));
        self.services.change(server.service, |state| {
            state.clock.observe(created_ns, at_ns);
            state.skew_ns = skew_ns.or(state.skew_ns);
        });
    }

    fn learn_acceptance(
        &mut self,
        seen: &Observation,
        hello: &HelloFacts,
        server: &Server,
        mechanism: Mechanism,
    ) {
        let Some(token) = hello.accepted(mechanism) else {
            return;
        };
        let now_ns = seen.time_ns;
        if mechanism != Mechanism::SessionId {
            self.learn_key(server, &token, now_ns, false);
        }
        let Some(issued) = self.sessions.get(token.hash).copied() else {
            return;
        };
        let kind = entry_kind(hello);
        let entry = mechanism == Mechanism::SessionId || token.key.is_none();
        if mechanism == Mechanism::Psk && entry {
            self.services
                .change(server.service, |state| state.stateful = true);
        }
        if entry {
            self.learn_cache(&issued, server, hello, kind);
        } else if self.issuer_ended(&issued, server, hello.begin_ns) {
            self.services
                .change(server.service, |state| state.keys_outlive_process = true);
        }
        let serials = Serials {
            service: self.state(issued.service).issued[kind],
            process: issued
                .process
                .and_then(|process| self.processes.issued(process, kind))
                .unwrap_or_default(),
        };
        if let Some(issued) = self.sessions.get_mut(token.hash) {
            let removed = issued.removed.filter(|(at_ns, _)| *at_ns > hello.begin_ns);
            // Removed while it was being accepted: the server allows each to be used once.
            let single_use =
                removed.is_some_and(|(at_ns, cause)| at_ns <= now_ns && cause == Removal::Unknown);
            issued.used_up |= entry && single_use;
            issued.removed = removed.filter(|_| !single_use);
            issued.connection = seen.connection;
            issued.serials = serials;
            issued.used_ns = now_ns;
        }
    }

    /// Records what the acceptance of a cache entry shows about the cache.
    fn learn_cache(
        &mut self,
        issued: &IssuedSession,
        server: &Server,
        hello: &HelloFacts,
        kind: usize,
    ) {
        self.services
            .record_shared_cache(issued.service, server.service);
        let ended = self.issuer_ended(issued, server, hello.begin_ns);
        let processes = issued.process.zip(server.process);
        let by_other = ended
            || processes.is_some_and(|(issuer, process)| server.by_library && issuer != process);
        let shared = self.state(server.service).shares_cache || by_other;
        let rank = self.rank(issued, kind, shared);
        if let Some(process) = server.process
            && issued.process == Some(process)
            && let Some(distance) = self.distance(issued, kind, hello.begin_ns)
        {
            self.processes.change_history(process, kind, |cache| {
                cache.accept(issued.used_ns, distance);
            });
        }
        self.services.change(server.service, |state| {
            state.shares_cache |= by_other;
            state.cache_outlives_process |= ended;
            if let Some(rank) = rank.filter(|_| server.by_library) {
                state.storage[kind].accept(rank);
            }
        });
    }

    /// Whether the process that issued the session had ended when another one accepted it.
    fn issuer_ended(&self, issued: &IssuedSession, server: &Server, at_ns: u64) -> bool {
        let relation = issued
            .process
            .and_then(|issuer| self.relation(issuer, server, at_ns));
        relation == Some(Relation::Ended)
    }

    fn learn_key(&mut self, server: &Server, ticket: &Token, now_ns: u64, issued: bool) {
        let service = self.services.root(server.service);
        let recorded = self
            .keys
            .record(service, ticket, server.process, now_ns, issued);
        if recorded.confirmed || server.by_library {
            self.services
                .change(service, |state| state.names_keys = true);
        }
        if let Some((time_ns, key)) = recorded.rotated_ns.zip(keys::key_of(ticket)) {
            self.changes.add(Change {
                time_ns,
                service: Some(service),
                detail: ChangeDetail::TicketKey { key },
            });
        }
    }

    /// Records sessions and tickets that a server issued; returns whether it issued any.
    fn learn_issues(
        &mut self,
        hello: &HelloFacts,
        server: &Server,
        now_ns: u64,
        resumed: bool,
    ) -> bool {
        let session = server.session;
        let lifetime_ns = session.age.lifetime_ns;
        let issued = |lifetime_ns: Option<u64>, serials: Serials| IssuedSession {
            service: server.service,
            process: server.process,
            at_ns: now_ns,
            used_ns: now_ns,
            lifetime_ns,
            serials,
            issue_serial: serials.process,
            removed: None,
            used_up: false,
            replaced: false,
            connection: Some(server.connection),
            lossy: false,
        };
        let mut any = false;
        if let Some(ticket) = hello.issued_ticket {
            self.learn_key(server, &ticket, now_ns, true);
            let hint = hello.lifetime_hint_s.filter(|seconds| *seconds > 0);
            let hint_ns = hint.map(|seconds| u64::from(seconds) * 1_000_000_000);
            let ticket_lifetime_ns = lifetime_ns.or(hint_ns);
            self.sessions
                .insert(ticket.hash, issued(ticket_lifetime_ns, Serials::default()));
            any = true;
        }
        let entry = if hello.is_tls13() {
            session.id.map(|hash| (hash, true))
        } else {
            let id = hello.issued_id.filter(|_| !resumed);
            id.map(|id| (id.hash, false))
        };
        if let Some((hash, library_only)) = entry {
            let known = library_only && self.sessions.get(hash).is_some();
            if known {
                return any;
            }
            let serials = self.next_serials(server, entry_kind(hello));
            let issued = issued(lifetime_ns, serials);
            if library_only {
                self.sessions.insert_library_only(hash, issued);
            } else {
                self.sessions.insert(hash, issued);
            }
            any = true;
        }
        any
    }

    fn next_serials(&mut self, server: &Server, kind: usize) -> Serials {
        let service = self.services.root(server.service);
        self.services
            .change(service, |state| state.issued[kind] += 1);
        let process = server
            .process
            .map_or(0, |process| self.processes.count_issued(process, kind));
        Serials {
            service: self.state(service).issued[kind],
            process,
        }
    }
}
