//! Clients by address: what a service gave each in its last handshake. A handshake without an offer
//! counts against a client only if it was given a session before. Bounded: the least recently used
//! entry is evicted, and its client counts as new again.

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;

use super::given::Given;
use crate::model::{NetworkNamespace, Observation, Role};

const MAX_VISITORS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();

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
