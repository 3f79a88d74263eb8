//! The reason why a session that a client offered was not resumed: facts about issued sessions,
//! ticket keys, processes and clocks, and the rules that evaluate them (`RULES`). Pure: `correlate`
//! passes ended handshakes in order of time. Every table admits only what servers on this host
//! issued or accepted, so that clients cannot fill it with invented sessions or keys.

mod changes;
mod client;
mod clock;
mod emptied;
mod facts;
mod generations;
mod input;
mod keys;
mod learn;
mod miss;
mod origin;
mod process;
mod removal;
mod rules;
mod services;
mod sessions;
mod sizing;
mod tables;
mod undecided;

use self::tables::Tables;
pub use self::{
    origin::SessionOrigin,
    removal::{CloseEvidence, RemovedSession},
    rules::{RULES, Rule, required_evidence},
    tables::Retained,
    undecided::UndecidedMiss,
};
use crate::{
    model::{
        Connection, HelloFacts, Observation, Offer, Outcome, Resumption, Role, ServiceFacts,
        ServiceId, SessionRemoved, Token,
    },
    pipeline::{changes::Changes, sizing::Services},
};

/// Decides the reasons of misses.
#[derive(Debug)]
pub struct Diagnoser {
    tables: Tables,
}

impl Diagnoser {
    /// A diagnoser that retains at most `max_sessions` sessions of each kind, and analyses the
    /// caches of at most `max_services` services.
    #[must_use]
    pub fn new(max_sessions: usize, max_services: usize) -> Self {
        Self {
            tables: Tables::new(max_sessions, max_services),
        }
    }

    /// Records the offset of this host's wall clock to its monotonic clock, nanoseconds.
    pub const fn set_clock(&mut self, wall_minus_monotonic_ns: i64) {
        self.tables.wall_minus_monotonic_ns = Some(wall_minus_monotonic_ns);
    }

    /// Whether this session ID was issued on this host: by a server, or to a client.
    #[must_use]
    pub fn was_issued_here(&self, id: &Token) -> bool {
        let sessions = &self.tables.sessions;
        sessions.get(id.hash).is_some() || sessions.get_client(id.hash).is_some()
    }

    /// Records that a process ended, or executed a new program.
    pub fn process_ended(&mut self, tgid: u32, time_ns: u64, by_exec: bool) {
        self.tables.processes.end(tgid, time_ns, by_exec);
    }

    /// Records an ended handshake: sets the reason of its miss, if it missed a session, and removes
    /// the key names of its tickets if the service's tickets do not begin with a key name. Returns
    /// a miss without a reason that [`Self::reconsider`] may find.
    pub fn diagnose(&mut self, seen: &mut Observation) -> Option<UndecidedMiss> {
        let (Some(hello), Outcome::Completed(resumption)) = (seen.hello, seen.outcome) else {
            return None;
        };
        let missed = match (seen.offer, resumption) {
            (Offer::Session(mechanism), Resumption::Full) => Some(mechanism),
            _ => None,
        };
        if seen.role == Role::Client {
            let connection = seen.connection.as_ref();
            seen.miss = missed.map(|_| self.tables.diagnose_client(&hello, connection));
            self.tables.sessions.record_client(&hello);
            return None;
        }
        let server = self.tables.server(seen, &hello)?;
        let missed =
            missed.map(|mechanism| self.tables.diagnose_server(&server, &hello, mechanism));
        seen.miss = missed.map(|(miss, _)| miss);
        self.tables.learn(seen, &hello, &server);
        self.tables.record_sizing(seen, &hello, &server);
        self.tables.record_changes(seen, &hello, &server);
        if !self.tables.names_keys(&server)
            && let Some(hello) = &mut seen.hello
        {
            remove_key_names(hello);
        }
        missed.and_then(|(_, undecided)| undecided)
    }

    /// Sets the reason of a miss that had none, if the handshakes that followed show it.
    pub fn reconsider(&mut self, seen: &mut Observation, undecided: &UndecidedMiss) {
        if let (Some(hello), Some(miss)) = (&seen.hello, &mut seen.miss) {
            self.tables.reconsider(hello, miss, undecided);
        }
    }

    /// Records that a library removed a session from its cache; returns the cause, if a server here
    /// issued the session and could still have resumed it. `close` gives what TCP did on a
    /// connection until then.
    pub fn session_removed(
        &mut self,
        removed: &SessionRemoved,
        close: impl FnOnce(&Connection) -> CloseEvidence,
    ) -> Option<RemovedSession> {
        self.tables.session_removed(removed, close)
    }

    /// Facts about a service, as of `now_ns`.
    #[must_use]
    pub fn service(&self, service: ServiceId, now_ns: u64) -> ServiceFacts {
        self.tables.service(service, now_ns)
    }

    /// Whether a service has not been merged into another one.
    #[must_use]
    pub fn is_whole(&self, service: ServiceId) -> bool {
        self.tables.services.root(service) == service
    }

    /// Changes of services and of the host.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.tables.changes
    }

    /// Mutable changes, to add those of the host.
    pub const fn changes_mut(&mut self) -> &mut Changes {
        &mut self.tables.changes
    }

    /// Analyses of the services' session caches.
    #[must_use]
    pub const fn sizing(&self) -> &Services {
        &self.tables.sizing
    }

    /// Mutable analyses, to add handshakes.
    pub const fn sizing_mut(&mut self) -> &mut Services {
        &mut self.tables.sizing
    }

    /// Sizes of the tables, and evictions from them.
    #[must_use]
    pub fn retained(&self) -> Retained {
        self.tables.retained()
    }
}

fn remove_key_names(hello: &mut HelloFacts) {
    let tokens = [&mut hello.ticket, &mut hello.issued_ticket];
    for token in tokens.into_iter().chain(&mut hello.identities).flatten() {
        token.key = None;
    }
}

#[cfg(test)]
mod tests;
