//! All that is retained to explain misses.

use super::{
    client::Clients,
    emptied::Distance,
    generations::Generations,
    keys::Keys,
    process::{ProcessId, Processes, Relation},
    services::{ServiceState, Services},
    sessions::{IssuedSession, Sessions},
};
use crate::{
    model::{Connection, HelloFacts, Observation, ServiceFacts, ServiceId, SessionFacts},
    pipeline::{changes::Changes, sizing},
};

/// Sizes of the tables, and evictions from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Sessions and tickets.
    pub sessions: usize,
    /// Sessions and tickets evicted because a table was full, oldest first.
    pub evicted: u64,
    /// Ticket keys.
    pub keys: usize,
    /// Ticket keys evicted.
    pub evicted_keys: u64,
    /// Services.
    pub services: usize,
    /// Services, and ends and processes that are assigned to services, evicted.
    pub evicted_services: u64,
    /// Clients of services here.
    pub clients: usize,
    /// Clients evicted.
    pub evicted_clients: u64,
    /// Processes that serve TLS.
    pub processes: usize,
    /// Processes evicted.
    pub evicted_processes: u64,
}

/// All tables.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) services: Services,
    pub(super) processes: Processes,
    pub(super) sessions: Sessions,
    pub(super) keys: Keys,
    pub(super) clients: Clients,
    pub(super) generations: Generations,
    /// What changed.
    pub(super) changes: Changes,
    /// What the caches of the services need.
    pub(super) sizing: sizing::Services,
    pub(super) wall_minus_monotonic_ns: Option<i64>,
}

/// The server side of one completed handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) service: ServiceId,
    pub(super) process: Option<ProcessId>,
    /// A library reported it; else the process is the owner of the listening socket.
    pub(super) by_library: bool,
    pub(super) connection: Connection,
    pub(super) session: SessionFacts,
}

/// Index of the counters for session IDs, or for TLS 1.3 cache entries.
pub(super) const fn entry_kind(hello: &HelloFacts) -> usize {
    if hello.is_tls13() { 1 } else { 0 }
}

impl Tables {
    pub(super) fn new(max_sessions: usize, max_services: usize) -> Self {
        Self {
            services: Services::new(),
            processes: Processes::new(),
            sessions: Sessions::new(max_sessions),
            keys: Keys::new(),
            clients: Clients::new(),
            generations: Generations::new(),
            changes: Changes::default(),
            sizing: sizing::Services::new(max_services),
            wall_minus_monotonic_ns: None,
        }
    }

    /// The server side of a handshake; `None` where its connection is not known.
    pub(super) fn server(&mut self, seen: &Observation, hello: &HelloFacts) -> Option<Server> {
        let connection = seen.connection?;
        let library = seen.library();
        let end = connection.end(connection.local);
        let service = self.services.for_end(end, seen.tgid, hello.begin_ns);
        let process = seen
            .tgid
            .map(|tgid| self.processes.observe(tgid, hello.begin_ns));
        Some(Server {
            service,
            process,
            by_library: library.is_some(),
            connection,
            session: library.map(|library| library.session).unwrap_or_default(),
        })
    }

    /// Whether the tickets of this server begin with the name of their key: true for the observed
    /// libraries, and for other programs after two tickets that begin alike.
    pub(super) fn names_keys(&self, server: &Server) -> bool {
        server.by_library || self.services.get(server.service).names_keys
    }

    /// Relation of a process to the one behind `server`; `None` where either is not known, or where
    /// the owner of the listening socket may stand for several processes.
    pub(super) fn relation(
        &self,
        process: ProcessId,
        server: &Server,
        at_ns: u64,
    ) -> Option<Relation> {
        let missed = server.process?;
        Some(if server.by_library {
            self.processes.relation(process, missed, at_ns)
        } else {
            self.processes.listener_relation(process, missed, at_ns)
        })
    }

    /// Sessions that share a cache with this one and were issued since its last use.
    pub(super) fn rank(&self, issued: &IssuedSession, kind: usize, shared: bool) -> Option<u64> {
        let by_process = issued.process.filter(|_| !shared);
        if let Some(process) = by_process {
            let count = self.processes.issued(process, kind)?;
            return Some(count.saturating_sub(issued.serials.process));
        }
        // Positions in two services that were later merged cannot be compared.
        let same = self.services.root(issued.service) == issued.service
            && self.services.contains(issued.service);
        let count = self.services.get(issued.service).issued[kind];
        same.then(|| count.saturating_sub(issued.serials.service))
    }

    /// Sessions and time for which the cache of its issuer must have held this session at `now_ns`.
    pub(super) fn distance(
        &self,
        issued: &IssuedSession,
        kind: usize,
        now_ns: u64,
    ) -> Option<Distance> {
        let count = self.processes.issued(issued.process?, kind)?;
        Some(Distance {
            rank: count.saturating_sub(issued.serials.process),
            rank_since_issue: count.saturating_sub(issued.issue_serial),
            idle_ns: now_ns.saturating_sub(issued.used_ns),
            age_ns: now_ns.saturating_sub(issued.at_ns),
            issued: count,
        })
    }

    pub(super) fn state(&self, service: ServiceId) -> ServiceState {
        self.services.get(service)
    }

    pub(super) fn service(&self, service: ServiceId, now_ns: u64) -> ServiceFacts {
        let state = self.services.get(service);
        let since_ns = now_ns.saturating_sub(state.lifetime_ns.unwrap_or(u64::MAX));
        let live = self.sessions.iter().filter(|issued| {
            issued.at_ns >= since_ns
                && issued.removed.is_none()
                && !issued.used_up
                && !issued.replaced
                && self.services.is_same(issued.service, service)
        });
        ServiceFacts {
            sessions: live.count() as u64,
            lifetime_ns: state.lifetime_ns,
            skew_ns: state.skew_ns,
            issues_ids: state.issues_ids,
            issues_tickets: state.issues_tickets,
            per_connection_keys: self.has_key_per_connection(service),
        }
    }

    /// Whether nearly every ticket of the service has a key of its own.
    pub(super) fn has_key_per_connection(&self, service: ServiceId) -> bool {
        let service = self.services.root(service);
        let state = self.services.get(service);
        state.names_keys && self.keys.are_per_connection(service, state.processes)
    }

    pub(super) fn retained(&self) -> Retained {
        Retained {
            sessions: self.sessions.len(),
            evicted: self.sessions.evicted(),
            keys: self.keys.len(),
            evicted_keys: self.keys.evicted(),
            services: self.services.len(),
            evicted_services: self.services.evicted(),
            clients: self.clients.len(),
            evicted_clients: self.clients.evicted(),
            processes: self.processes.len(),
            evicted_processes: self.processes.evicted(),
        }
    }
}
