//! Clients by address: what a service gave each in its last handshake. A handshake without an offer
//! counts against a client only if it was given a session before. Bounded: the least recently used
//! entry is evicted, and its client counts as new again.

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;

use crate::model::{HelloFacts, NetworkNamespace, Observation, Role};

const MAX_VISITORS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();

/// What a server gave in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// A session ID or a ticket. The tickets of TLS 1.3 are encrypted, and assumed.
    Session,
    /// Neither.
    Nothing,
}

impl Given {
    const fn from_hello(hello: &HelloFacts) -> Self {
        let has_session = hello.issued_id.is_some() || hello.issued_ticket.is_some();
        if hello.is_tls13() || has_session {
            Self::Session
        } else {
            Self::Nothing
        }
    }
}

/// A client of a service here, or a service with clients here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Visitor {
    role: Role,
    namespace: NetworkNamespace,
    remote: IpAddr,
    /// Port of the server.
    port: u16,
}

/// Table of clients.
#[derive(Debug)]
pub(super) struct Visitors(LruCache<Visitor, Given>);

impl Visitors {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_VISITORS))
    }

    /// Adds a completed handshake; returns what the server gave this client in the one before, or
    /// `None` for the first one.
    pub(super) fn record(&mut self, seen: &Observation) -> Option<Given> {
        let (hello, connection) = (seen.hello.as_ref()?, seen.connection?);
        let server = connection.server(seen.role);
        let visitor = Visitor {
            role: seen.role,
            namespace: connection.namespace,
            remote: connection.remote.ip(),
            port: server.port(),
        };
        let given = Given::from_hello(hello);
        self.0.put(visitor, given)
    }
}
