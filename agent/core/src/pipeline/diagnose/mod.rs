//! Why a session that a client offered was not resumed. Pure: fed by `correlate` with what ended, in order of time.
//!
//! The rules, first match decides. *Service* is one listening end on this host with the processes behind it (`services`);
//! *found* and *nothing found* are what a probe saw of the library's own look-up (`library`).
//!
//! | | evidence | reason |
//! |---|---|---|
//! | 1 | found, and by the server's own clock it is older than its lifetime | `expired` |
//! | 2 | found, and younger: so it was turned down for what it is (version, name, context, cipher) | `refused` |
//! | 3 | it was taken out of the cache before: beyond its lifetime, or for another cause | `expired`, `removed` |
//! | 4 | the server agreed on a version or mode in which it does not look; the key, or the session, is its own | `refused` |
//! | 5 | the like, and nothing is known of key or session | `unknown` |
//! | 6 | nothing found, or nothing seen; the service made this very ticket longer ago than its lifetime | `expired` |
//! | 7 | nothing found, and the service has never taken or given a ticket under this key | `foreign_key` |
//! | 8 | nothing found, and it has | `retired_key` |
//! | 9 | nothing seen; the service has used another key since it last used this one | `retired_key` |
//! | 10 | nothing seen; it made this very ticket, within its lifetime | `refused` |
//! | 11 | nothing seen, never such a key, and watched for longer than tickets live | `foreign_key` |
//! | 12 | the service, or one it shares a cache with, gave this ID longer ago than its lifetime | `expired` |
//! | 13 | the like, within its lifetime | `evicted` |
//! | 14 | another service on this host gave this ID | `foreign_id` |
//! | 15 | nobody on this host gave it; nothing is forgotten that could matter; this client was given another one here | `foreign_id` |
//! | 16 | anything else | `unknown` |
//!
//! A client on this host knows less of a miss: only that its session was past the lifetime that the server had named.

mod keys;
mod rules;
mod services;
mod sessions;

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;

use self::{
    keys::Keys,
    rules::{Facts, Key},
    services::Services,
    sessions::{Issued, Sessions},
};
use crate::model::{
    Connection, HelloFacts, HelloFlags, Lookup, Mechanism, Miss, MissReason, Observation, Offer,
    Outcome, Removal, RemovalContext, Resumption, Role, ServiceFacts, ServiceId, SessionFacts,
    SessionRemoved, Source, Token,
};

/// Clients remembered as having been given a session ID, over all services.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// A session that left a cache before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Why.
    pub removal: Removal,
    /// The connection that ended uncleanly and had met loss, where that was the cause.
    pub cut: Option<Connection>,
}

/// Sizes and losses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Sessions and tickets remembered.
    pub sessions: usize,
    /// Those forgotten for room, oldest first.
    pub evicted: u64,
    /// Ticket keys remembered.
    pub keys: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Evidence {
    services: Services,
    sessions: Sessions,
    keys: Keys,
    clients: LruCache<(ServiceId, IpAddr), ()>,
    wall_minus_monotonic_ns: Option<i64>,
}

impl Evidence {
    /// Remembers at most `max_sessions` sessions and as many tickets of TLS 1.3.
    #[must_use]
    pub fn new(max_sessions: usize) -> Self {
        Self {
            services: Services::new(),
            sessions: Sessions::new(max_sessions),
            keys: Keys::new(),
            clients: LruCache::new(MAX_CLIENTS),
            wall_minus_monotonic_ns: None,
        }
    }

    /// Takes what this host's wall clock says.
    pub const fn set_clock(&mut self, wall_minus_monotonic_ns: i64) {
        self.wall_minus_monotonic_ns = Some(wall_minus_monotonic_ns);
    }

    /// Whether this session ID was given on this host: by a server, or to a client.
    #[must_use]
    pub fn gave(&self, id: &Token) -> bool {
        self.sessions.get(id.hash).is_some() || self.sessions.get_client(id.hash).is_some()
    }

    /// Takes a finished handshake, and says why its session was missed, if one was.
    pub fn take(&mut self, seen: &Observation) -> Option<Miss> {
        let hello = seen.hello.as_ref()?;
        let Outcome::Completed(resumption) = seen.outcome else {
            return None;
        };
        let session = &match seen.source {
            Source::Library(facts) => facts.session,
            Source::Wire => SessionFacts::default(),
        };
        let missed = match (seen.offer, resumption) {
            (Offer::Session(mechanism), Resumption::Full) => Some(mechanism),
            _ => None,
        };
        if seen.role == Role::Client {
            let miss = missed.map(|_| self.judge_client(hello));
            self.sessions.note_client(hello);
            return miss;
        }
        let connection = seen.connection?;
        let service = self
            .services
            .of(connection.local, seen.tgid, hello.begin_ns);
        if seen.offer == Offer::Session(Mechanism::Psk) && is_stateful(hello) {
            self.services.change(service, |facts| facts.stateful = true);
        }
        let client = (service, connection.remote.ip());
        let miss = missed.map(|mechanism| {
            let known = self.clients.contains(&client);
            self.judge(hello, mechanism, session, service, known)
        });
        self.note(seen, hello, session, service);
        if hello.issued_id.is_some() {
            self.clients.put(client, ());
        }
        miss
    }

    fn judge(
        &mut self,
        hello: &HelloFacts,
        mechanism: Mechanism,
        session: &SessionFacts,
        service: ServiceId,
        known_client: bool,
    ) -> Miss {
        let now_ns = hello.begin_ns;
        let token = hello.offered(mechanism);
        let issued = token.and_then(|token| self.sessions.get(token.hash).copied());
        let facts = self.services.get(service);
        let lifetime_ns = issued
            .and_then(|issued| issued.lifetime_ns)
            .or(session.age.lifetime_ns)
            .or(facts.lifetime_ns);
        let removed = issued
            .and_then(|issued| issued.removed)
            .filter(|(at_ns, _)| *at_ns <= now_ns);
        let key = token.and_then(|token| token.key);
        let key = key.map(|key| match self.keys.of(service, key) {
            None => Key::Never,
            Some(used) if self.keys.is_superseded(service, used) => Key::Superseded,
            Some(_) => Key::Used,
        });
        let verdict = rules::decide(&Facts {
            lookup: session.lookup,
            looks: looks(hello, mechanism),
            key,
            issued_here: issued.map(|issued| {
                self.services.is_same(issued.service, service)
                    || self.services.share_cache(issued.service, service)
            }),
            age_ns: issued.map(|issued| now_ns.saturating_sub(issued.at_ns)),
            lifetime_ns,
            removed: removed.map(|(_, removal)| removal),
            watched_ns: now_ns.saturating_sub(facts.since_ns),
            remembered_ns: now_ns.saturating_sub(self.sessions.forgotten_until_ns()),
            known_client,
        });
        let (age_ns, lifetime_ns) = match session.lookup {
            Lookup::Rejected {
                age_ns,
                lifetime_ns,
            } => (age_ns, Some(lifetime_ns)),
            _ => (
                issued.map(|issued| now_ns.saturating_sub(issued.at_ns)),
                lifetime_ns,
            ),
        };
        Miss {
            reason: verdict,
            age_ns,
            lifetime_ns,
            service: Some(service),
            lossy: verdict == MissReason::Removed && issued.is_some_and(|issued| issued.lossy),
        }
    }

    fn judge_client(&self, hello: &HelloFacts) -> Miss {
        let tokens = [hello.session_id, hello.ticket];
        let issued = tokens
            .iter()
            .flatten()
            .find_map(|token| self.sessions.get_client(token.hash));
        let age_ns = issued.map(|issued| hello.begin_ns.saturating_sub(issued.at_ns));
        let lifetime_ns = issued.and_then(|issued| issued.lifetime_ns);
        let expired = age_ns
            .zip(lifetime_ns)
            .is_some_and(|(age, lifetime)| rules::is_over(age, lifetime));
        Miss {
            reason: if expired {
                MissReason::Expired
            } else {
                MissReason::Unknown
            },
            age_ns,
            lifetime_ns,
            service: None,
            lossy: false,
        }
    }

    /// Remembers what a server took and gave.
    fn note(
        &mut self,
        seen: &Observation,
        hello: &HelloFacts,
        session: &SessionFacts,
        service: ServiceId,
    ) {
        let now_ns = seen.time_ns;
        let skew_ns = self.wall_minus_monotonic_ns.and_then(|offset| {
            let wall = i64::try_from(now_ns).ok()?.checked_add(offset)?;
            Some(i64::try_from(session.age.created_ns?).ok()? - wall)
        });
        let resumed = seen.outcome == Outcome::Completed(Resumption::Resumed);
        self.services.change(service, |facts| {
            facts.lifetime_ns = session.age.lifetime_ns.or(facts.lifetime_ns);
            // A session that was resumed is as old as it is.
            if !resumed {
                facts.skew_ns = skew_ns.or(facts.skew_ns);
            }
        });
        if resumed
            && let Offer::Session(mechanism) = seen.offer
            && let Some(token) = hello.accepted(mechanism)
        {
            if let Some(key) = token.key {
                self.keys.note(service, key, now_ns);
            }
            if let Some(issued) = self.sessions.get_mut(token.hash) {
                // It is there again, where it was not taken out only since.
                issued.removed = issued.removed.filter(|(at_ns, _)| *at_ns > hello.begin_ns);
                issued.connection = seen.connection;
                let giver = issued.service;
                self.services.shares_cache(giver, service);
            }
        }
        let issued = |lifetime_ns: Option<u64>| Issued {
            service,
            at_ns: now_ns,
            lifetime_ns,
            removed: None,
            connection: seen.connection,
            lossy: false,
        };
        if let Some(ticket) = hello.issued_ticket {
            if let Some(key) = ticket.key {
                self.keys.note(service, key, now_ns);
            }
            let hint = hello
                .lifetime_hint_s
                .map(|hint| u64::from(hint) * 1_000_000_000);
            self.sessions
                .put(ticket.hash, issued(session.age.lifetime_ns.or(hint)));
        }
        if !hello.is_tls13() {
            if !resumed && let Some(id) = hello.issued_id {
                self.sessions.put(id.hash, issued(session.age.lifetime_ns));
            }
        } else if let Some(id) = session.id {
            self.sessions
                .put_hidden(id, issued(session.age.lifetime_ns));
        }
    }

    /// Takes a session that was removed from a cache; says why, where it was one of a server here and might have been resumed.
    /// `met_loss` tells of a connection whether it had met loss by then.
    pub fn forget(
        &mut self,
        event: &SessionRemoved,
        met_loss: impl FnOnce(&Connection) -> bool,
    ) -> Option<Forgotten> {
        let (hash, at_ns) = (event.id?, event.time_ns);
        let hidden = self.sessions.is_hidden(hash);
        let issued = self.sessions.get(hash).copied()?;
        // A client on the same host forgets the same session.
        if issued.removed.is_some() || !self.services.runs(issued.service, event.tgid) {
            return None;
        }
        let removal = match event.context {
            RemovalContext::Freeing => Removal::UncleanClose,
            RemovalContext::Handshake if self.is_over(event) => Removal::Expired,
            RemovalContext::Handshake => Removal::Unknown,
            RemovalContext::Application => Removal::Application,
        };
        let cut = match removal {
            Removal::UncleanClose => issued.connection.filter(met_loss),
            _ => None,
        };
        if let Some(issued) = self.sessions.get_mut(hash) {
            issued.removed = Some((at_ns, removal));
            issued.lossy = cut.is_some();
        }
        // A ticket of TLS 1.3 outlives its cache entry, unless it is but the entry's name.
        let gone = !hidden || self.services.get(issued.service).stateful;
        gone.then_some(Forgotten { removal, cut })
    }

    fn is_over(&self, event: &SessionRemoved) -> bool {
        let wall_ns = self
            .wall_minus_monotonic_ns
            .and_then(|offset| event.time_ns.checked_add_signed(offset));
        let age = event.age;
        age.created_ns
            .zip(wall_ns)
            .is_some_and(|(created_ns, wall_ns)| {
                wall_ns.saturating_sub(created_ns) >= age.lifetime_ns.unwrap_or(u64::MAX)
            })
    }

    /// What is known of a service, as of `now_ns`.
    #[must_use]
    pub fn service(&self, service: ServiceId, now_ns: u64) -> ServiceFacts {
        let facts = self.services.get(service);
        let since_ns = now_ns.saturating_sub(facts.lifetime_ns.unwrap_or(u64::MAX));
        let sessions = self.sessions.iter().filter(|issued| {
            issued.at_ns >= since_ns && self.services.is_same(issued.service, service)
        });
        ServiceFacts {
            sessions: sessions.count() as u64,
            lifetime_ns: facts.lifetime_ns,
            skew_ns: facts.skew_ns,
        }
    }

    /// Sizes and losses.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            sessions: self.sessions.len(),
            evicted: self.sessions.evicted(),
            keys: self.keys.len(),
        }
    }
}

/// Whether the first PSK identity offered is a session ID.
fn is_stateful(hello: &HelloFacts) -> bool {
    hello
        .offered(Mechanism::Psk)
        .is_none_or(|token| token.key.is_none())
}

/// Whether a server looks at what was offered, in the version agreed on: a PSK is nothing below TLS 1.3, and needs a mode
/// (RFC 8446, section 4.2.9); the others are nothing there.
const fn looks(hello: &HelloFacts, mechanism: Mechanism) -> bool {
    match mechanism {
        Mechanism::Psk => hello.is_tls13() && hello.has(HelloFlags::PSK_DHE_KE),
        _ => !hello.is_tls13(),
    }
}

#[cfg(test)]
mod tests;
