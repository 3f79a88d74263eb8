//! From the tables to the facts that the rules depend on.

mod ages;

use super::{
    client::{ClientId, ClientIssuer},
    clock::{self, READING_ERROR_NS},
    facts::{Age, Issuer, KeyOwner, Offered, RuleInput, Stored, TicketKey},
    keys,
    process::Relation,
    services::Storage,
    sessions::IssuedSession,
    tables::{Server, Tables, entry_kind},
};
use crate::model::{HelloFacts, HelloFlags, KeyName, Lookup, Mechanism, Removal, Token};

const SECOND_NS: u64 = 1_000_000_000;
/// Libraries store times in seconds: an age so close to the lifetime shows nothing.
const ROUNDING_NS: u64 = SECOND_NS;
/// Lifetime assumed where none is known: OpenSSL's default for tickets.
const DEFAULT_LIFETIME_NS: u64 = 7_200 * SECOND_NS;
/// Number of lifetimes of observation after which clients no longer offer sessions from before it.
const LIFETIMES: u64 = 4;
/// Uses of newer keys after which a key counts as replaced, where the process is known only as the
/// owner of the listening socket, which may represent several processes.
const REPLACED_AFTER_ON_WIRE: u64 = 64;
const REPLACED_AFTER: u64 = 3;

/// The offered session, as far as it is known, and all that the rules depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) issued: Option<IssuedSession>,
    pub(super) key: Option<KeyName>,
    pub(super) age_ns: Option<u64>,
    pub(super) lifetime_ns: Option<u64>,
    pub(super) step_ns: Option<i64>,
    pub(super) removed: Option<Removal>,
    pub(super) input: RuleInput,
}

/// Whether the service stores sessions, as its offers show.
pub(super) const fn stored(storage: &Storage) -> Stored {
    if storage.is_disproven() {
        Stored::Never
    } else if storage.accepted > 0 {
        Stored::Accepted {
            count: storage.accepted,
            max_rank: storage.max_rank,
            missed_low: storage.low_misses > 0,
        }
    } else {
        Stored::Unknown
    }
}

/// An age against a lifetime.
pub(super) fn age(age_ns: Option<u64>, lifetime_ns: Option<u64>) -> Age {
    let Some((age_ns, lifetime_ns)) = age_ns.zip(lifetime_ns) else {
        return Age::Unknown;
    };
    if age_ns > lifetime_ns.saturating_add(ROUNDING_NS) {
        Age::Over
    } else if age_ns.saturating_add(ROUNDING_NS) < lifetime_ns {
        Age::Within
    } else {
        Age::Unknown
    }
}

/// Whether a server considers such an offer in the version agreed on: a PSK needs TLS 1.3 and a
/// mode (RFC 8446, section 4.2.9), and the others need an older version.
fn is_considered(hello: &HelloFacts, mechanism: Mechanism) -> bool {
    match mechanism {
        Mechanism::Psk => hello.is_tls13() && hello.has(HelloFlags::PSK_DHE_KE),
        _ => !hello.is_tls13(),
    }
}

impl Tables {
    /// Collects the facts about an offer that was missed.
    pub(super) fn offer(
        &mut self,
        server: &Server,
        hello: &HelloFacts,
        mechanism: Mechanism,
        token: &Token,
    ) -> Offer {
        let now_ns = hello.begin_ns;
        let issued = self.sessions.get(token.hash).copied();
        let state = self.state(server.service);
        let lookup = server.session.lookup;
        let found_lifetime_ns = match lookup {
            Lookup::Rejected { lifetime_ns, .. } => Some(lifetime_ns),
            _ => None,
        };
        let lifetime_ns = found_lifetime_ns
            .or_else(|| issued?.lifetime_ns)
            .or(server.session.age.lifetime_ns)
            .or(state.lifetime_ns);
        let ages = self.ages(server, issued.as_ref(), now_ns);
        let removed = issued
            .and_then(|issued| issued.removed)
            .filter(|(at_ns, _)| *at_ns <= now_ns)
            .map(|(_, removal)| removal);
        let key = keys::key_of(token);
        let offered = match (mechanism, key) {
            (Mechanism::SessionId, _) | (Mechanism::Psk, None) => Offered::Entry,
            (_, Some(key)) if self.names_keys(server) => Offered::Ticket(self.ticket_key(
                server,
                hello,
                mechanism,
                (key, token.hash),
                lifetime_ns,
            )),
            _ => Offered::Ticket(TicketKey::Unnamed),
        };
        let key = key.filter(|_| self.names_keys(server));
        let kind = entry_kind(hello);
        let storage = state.storage[kind];
        let issuer = self.issuer(issued.as_ref(), server, now_ns);
        // Another service can have another lifetime than the one that missed the session.
        let issuer_lifetime_ns = match issuer {
            Issuer::OtherService => {
                found_lifetime_ns.or_else(|| issued.and_then(|issued| issued.lifetime_ns))
            }
            _ => lifetime_ns,
        };
        let input = RuleInput {
            lookup,
            considered: is_considered(hello, mechanism),
            offered,
            issuer,
            succeeded_issuer: issued
                .and_then(|issued| issued.process)
                .zip(server.process)
                .is_some_and(|(issuer, process)| self.processes.succeeded(issuer, process)),
            age: age(ages.observed_ns, issuer_lifetime_ns),
            observed_age_ns: ages.observed_ns,
            within_by_host_clock: age(ages.by_host_clock_ns, lifetime_ns) == Age::Within,
            expired_by_step: age(ages.by_stepped_clock_ns, lifetime_ns) == Age::Over,
            removed,
            used_up: issued.is_some_and(|issued| issued.used_up),
            stored: stored(&storage),
            shared: state.shares_cache,
            survives: state.cache_outlives_process,
            keys_survive: state.keys_outlive_process,
            rank: issued.and_then(|issued| self.rank(&issued, kind, state.shares_cache)),
            own_miss_rank: storage.high_miss_rank,
            emptied: issued.is_some_and(|issued| self.was_emptied(&issued, kind, now_ns)),
            keys_are_known: self.keys_are_known(server, mechanism, now_ns, lifetime_ns),
        };
        Offer {
            issued,
            key,
            age_ns: ages.observed_ns,
            lifetime_ns,
            step_ns: ages.step_ns,
            removed,
            input,
        }
    }

    /// Whether the issuer of this session emptied its cache since the last use.
    fn was_emptied(&self, issued: &IssuedSession, kind: usize, now_ns: u64) -> bool {
        let history = issued
            .process
            .and_then(|process| self.processes.history(process, kind));
        let distance = self.distance(issued, kind, now_ns);
        history
            .zip(distance)
            .is_some_and(|(history, distance)| history.was_emptied(issued.used_ns, distance))
    }

    /// Age by this host's clock of a session that began at `created_ns`.
    fn host_age_ns(&self, created_ns: u64, now_ns: u64) -> Option<u64> {
        let began_ns = clock::instant(created_ns, self.wall_minus_monotonic_ns?)?;
        now_ns.checked_sub(began_ns)
    }

    /// Age of a TLS 1.3 session that began at `created_ns` by the clock of its issuer, if exactly
    /// one issuer was observed to give the client a session then.
    fn given_age_ns(&self, server: &Server, created_ns: u64, now_ns: u64) -> Option<u64> {
        let client = ClientId::from_connection(&server.connection);
        let mut given = self.clients.issuers(client, 0)?.filter_map(|issuer| {
            let own_clock = self.state(issuer.service).clock.offset_ns();
            let offset_ns = own_clock.or(self.wall_minus_monotonic_ns)?;
            let began_ns = clock::instant(created_ns, offset_ns)?;
            (began_ns.abs_diff(issuer.last_ns) <= READING_ERROR_NS)
                .then(|| now_ns.saturating_sub(issuer.last_ns))
        });
        given.next().filter(|_| given.next().is_none())
    }

    pub(super) fn issuer(
        &self,
        issued: Option<&IssuedSession>,
        server: &Server,
        now_ns: u64,
    ) -> Issuer {
        let Some(issued) = issued else {
            return Issuer::Unknown;
        };
        if !self.services.is_same(issued.service, server.service)
            && !self.services.share_cache(issued.service, server.service)
        {
            // One process may use one cache for all its ports.
            let same_process = issued.process.is_some() && issued.process == server.process;
            let distinct = self.services.are_distinct(issued.service, server.service);
            return if distinct && !same_process {
                Issuer::OtherService
            } else {
                Issuer::Unknown
            };
        }
        let relation = issued
            .process
            .and_then(|process| self.relation(process, server, now_ns));
        match relation {
            Some(relation) => Issuer::Process(relation),
            None => Issuer::ThisService,
        }
    }

    pub(super) fn ticket_key(
        &mut self,
        server: &Server,
        hello: &HelloFacts,
        mechanism: Mechanism,
        (key, ticket): (KeyName, u64),
        lifetime_ns: Option<u64>,
    ) -> TicketKey {
        let now_ns = hello.begin_ns;
        let service = self.services.root(server.service);
        if let Some(used) = self.keys.get(service, key) {
            let Some(process) = server.process else {
                return TicketKey::Owned(KeyOwner::ThisService);
            };
            let several = used.is_for_several_connections();
            if !several && self.has_key_per_connection(service) {
                return TicketKey::Owned(KeyOwner::OneConnection);
            }
            if used.was_used_by(process) {
                let uses = if server.by_library {
                    REPLACED_AFTER
                } else {
                    REPLACED_AFTER_ON_WIRE
                };
                let replaced = self.keys.is_replaced(service, &used, process, uses);
                let answer = hello.issued_ticket.as_ref().and_then(keys::key_of);
                let current = answer == Some(key);
                return TicketKey::Owned(KeyOwner::Own { replaced, current });
            }
            let relations = used
                .users()
                .filter_map(|user| self.relation(user, server, now_ns));
            return TicketKey::Owned(match common_owner(relations) {
                KeyOwner::Process(Relation::Parallel) if !several => {
                    KeyOwner::Process(Relation::Unclear)
                }
                owner => owner,
            });
        }
        match self.keys.last_service(key) {
            Some(other) if self.services.are_distinct(other, service) => {
                return TicketKey::Owned(KeyOwner::OtherService);
            }
            Some(other)
                if !self.services.is_same(other, service)
                    && !self.services.share_cache(other, service) =>
            {
                return TicketKey::Unseen;
            }
            _ => {}
        }
        if mechanism == Mechanism::Psk && server.session.lookup == Lookup::NotFound {
            let inferred = self.infer_owner(server, key, ticket, now_ns, lifetime_ns);
            return inferred.map_or(TicketKey::Unseen, TicketKey::Inferred);
        }
        TicketKey::Unseen
    }

    /// The owner of a key that was never seen in use: TLS 1.3 tickets are encrypted when they are
    /// issued, but which processes issued sessions to this client is known. The process that found
    /// no session is not among the candidates, since it would know its own key.
    fn infer_owner(
        &mut self,
        server: &Server,
        key: KeyName,
        ticket: u64,
        now_ns: u64,
        lifetime_ns: Option<u64>,
    ) -> Option<KeyOwner> {
        let service = self.services.root(server.service);
        let client = ClientId::from_connection(&server.connection);
        let since_ns = now_ns.saturating_sub(lifetime_ns.unwrap_or(DEFAULT_LIFETIME_NS));
        let origin = self.clients.origin(key);
        if let Some(origin) = origin.filter(|origin| !self.services.is_same(*origin, service)) {
            let distinct = self.services.are_distinct(origin, service);
            return distinct.then_some(KeyOwner::OtherService);
        }
        if self.clients.has_unattributed(client)
            || self.clients.may_be_unattributed(service, key)
            || self.keys.are_shared(service)
        {
            return None;
        }
        let issuers: Vec<_> = self.clients.issuers(client, since_ns)?.collect();
        let is_here = |issuer: &&ClientIssuer| self.services.is_same(issuer.service, service);
        let here: Vec<_> = issuers.iter().filter(is_here).copied().collect();
        if here.is_empty() {
            let origin = issuers.first()?.service;
            let mut services = issuers.iter().map(|issuer| issuer.service);
            if !services.all(|other| self.services.are_distinct(other, service)) {
                return None;
            }
            self.clients.record_origin(client, key, origin);
            return Some(KeyOwner::OtherService);
        }
        let others = here
            .iter()
            .filter(|issuer| issuer.process != server.process);
        let relations: Vec<_> = others
            .map(|issuer| self.relation(issuer.process?, server, now_ns))
            .collect();
        let Some((first, rest)) = relations.split_first() else {
            self.clients.record_unattributed(client, service, key);
            return None;
        };
        let alike = rest.iter().all(|relation| relation == first);
        let relation = first.filter(|first| alike && *first != Relation::Unclear)?;
        // A process with a key for each connection uses none for more tickets.
        let repeats = relation != Relation::Parallel
            || self
                .clients
                .has_several_tickets(client, service, key, ticket);
        repeats.then_some(KeyOwner::Process(relation))
    }

    /// Whether a key that was never seen in use here cannot be the service's own.
    fn keys_are_known(
        &self,
        server: &Server,
        mechanism: Mechanism,
        now_ns: u64,
        lifetime_ns: Option<u64>,
    ) -> bool {
        let Some(lifetime_ns) = lifetime_ns else {
            return false;
        };
        let service = self.services.root(server.service);
        let state = self.state(service);
        let watched_ns = now_ns.saturating_sub(state.first_seen_ns);
        if watched_ns < lifetime_ns.saturating_mul(LIFETIMES) || self.keys.lost_any(service) {
            return false;
        }
        let since_ns = now_ns.saturating_sub(lifetime_ns);
        match mechanism {
            // Tickets of TLS 1.2 are issued in clear.
            Mechanism::Ticket => state.issues_tickets,
            Mechanism::Psk => {
                let client = ClientId::from_connection(&server.connection);
                state.processes == 1
                    && self.keys.has_one_key_since(service, since_ns)
                    && !self.clients.may_know(client, service, &self.services)
            }
            Mechanism::SessionId => false,
        }
    }
}

/// When the session that the library found began, nanoseconds since 1970 by the server's clock.
fn found_creation_ns(server: &Server) -> Option<u64> {
    match server.session.lookup {
        Lookup::Rejected {
            age_ns: Some(age_ns),
            ..
        } => server
            .session
            .age
            .created_ns?
            .checked_add_signed(age_ns.checked_neg()?),
        _ => None,
    }
}

/// The owner of a key that these processes used.
fn common_owner(relations: impl Iterator<Item = Relation>) -> KeyOwner {
    let mut all_ended = None;
    for relation in relations {
        match relation {
            Relation::Parallel => return KeyOwner::Process(Relation::Parallel),
            Relation::Ended => all_ended = all_ended.or(Some(true)),
            Relation::Same | Relation::Unclear => all_ended = Some(false),
        }
    }
    match all_ended {
        Some(true) => KeyOwner::Process(Relation::Ended),
        Some(false) => KeyOwner::Process(Relation::Unclear),
        None => KeyOwner::ThisService,
    }
}
