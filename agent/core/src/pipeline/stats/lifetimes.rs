//! Lifetimes of TLS connections, from the beginning of the handshake to the end of the TCP
//! connection.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    mem,
    num::NonZeroUsize,
};

use enum_map::EnumMap;
use lru::LruCache;

use super::by_role::ByRole;
use crate::model::{Connection, ConnectionClosed, ConnectionEnd, Role};

/// Upper bounds of the buckets, seconds: from a request to a connection that stays open.
pub const LIFETIME_BOUNDS_S: [f64; 5] = [1.0, 60.0, 900.0, 3_600.0, 86_400.0];
/// Open connections of which the beginning is retained.
const MAX_OPEN: usize = 65_536;
/// Ends of connections whose handshake is not concluded yet.
const MAX_EARLY: usize = 4_096;
/// Words of a set of ports.
const WORDS: usize = 65_536 / 64;

/// Lifetimes per bucket; the last bucket is unbounded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LifetimeHistogram {
    /// Connections per bucket, not cumulative.
    pub counts: [u64; LIFETIME_BOUNDS_S.len() + 1],
    /// Sum of the lifetimes, nanoseconds.
    pub sum_ns: u64,
}

impl LifetimeHistogram {
    fn observe(&mut self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        let bucket = LIFETIME_BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }
}

/// Beginning of a connection in nanoseconds, times two, plus one for the role of a client: half of
/// the memory of a structure.
#[derive(Debug, Clone, Copy)]
struct Open(u64);

impl Open {
    fn new(begin_ns: u64, role: Role) -> Self {
        Self(begin_ns << 1 | u64::from(role == Role::Client))
    }

    const fn begin_ns(self) -> u64 {
        self.0 >> 1
    }

    const fn role(self) -> Role {
        match self.0 & 1 {
            0 => Role::Server,
            _ => Role::Client,
        }
    }
}

/// Open connections by hash. The older half leaves at once when the newer half is full, which needs
/// a third of the memory of an order of all entries.
#[derive(Debug, Default)]
struct OpenConnections {
    newer: HashMap<u64, Open>,
    older: HashMap<u64, Open>,
    evicted: u64,
}

impl OpenConnections {
    fn insert(&mut self, hash: u64, open: Open) {
        self.remove(hash);
        if self.newer.len() >= MAX_OPEN / 2 {
            self.evicted += self.older.len() as u64;
            // The cleared half keeps its memory and becomes the newer one.
            self.older.clear();
            mem::swap(&mut self.older, &mut self.newer);
        }
        self.newer.insert(hash, open);
    }

    fn remove(&mut self, hash: u64) -> Option<Open> {
        let newer = self.newer.remove(&hash);
        newer.or_else(|| self.older.remove(&hash))
    }

    fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }
}

/// Lifetimes by role and end, and the open connections.
#[derive(Debug)]
pub struct Lifetimes {
    /// Lifetimes of the connections that ended.
    pub ended: ByRole<EnumMap<ConnectionEnd, LifetimeHistogram>>,
    open: OpenConnections,
    /// The end of a connection can arrive before its handshake is concluded.
    early: LruCache<u64, ConnectionClosed>,
    hasher: RandomState,
    ports: ByRole<Box<[u64]>>,
    new_ports: Vec<(Role, u16)>,
}

impl Lifetimes {
    pub(super) fn new() -> Self {
        let max_early = NonZeroUsize::new(MAX_EARLY).unwrap_or(NonZeroUsize::MIN);
        Self {
            ended: ByRole::default(),
            open: OpenConnections::default(),
            early: LruCache::new(max_early),
            hasher: RandomState::new(),
            ports: EnumMap::from_fn(|_| vec![0; WORDS].into_boxed_slice()),
            new_ports: Vec::new(),
        }
    }

    /// Adds a connection whose handshake completed; it began at `begin_ns` and ended at `end_ns`.
    pub(super) fn opened(
        &mut self,
        connection: &Connection,
        role: Role,
        (begin_ns, end_ns): (u64, u64),
    ) {
        self.add_port(role, connection.server(role).port());
        let hash = self.hasher.hash_one(connection);
        let open = Open::new(begin_ns, role);
        if let Some(closed) = self.early.pop(&hash)
            && closed.time_ns >= end_ns
        {
            return self.conclude(open, &closed);
        }
        self.open.insert(hash, open);
    }

    /// Adds the end of a connection, whether or not it has a TLS handshake.
    pub(in crate::pipeline) fn closed(&mut self, closed: &ConnectionClosed) {
        let hash = self.hasher.hash_one(closed.connection);
        match self.open.remove(hash) {
            Some(open) => self.conclude(open, closed),
            None => drop(self.early.put(hash, *closed)),
        }
    }

    fn conclude(&mut self, open: Open, closed: &ConnectionClosed) {
        let lifetime_ns = closed.time_ns.saturating_sub(open.begin_ns());
        self.ended[open.role()][closed.end].observe(lifetime_ns);
    }

    fn add_port(&mut self, role: Role, port: u16) {
        let word = &mut self.ports[role][usize::from(port) / 64];
        let bit = 1 << (port % 64);
        if *word & bit == 0 {
            *word |= bit;
            self.new_ports.push((role, port));
        }
    }

    /// Removes and returns the servers' ports of first connections, by the role of this host: the
    /// `tcp` sensor reports the ends of connections with these.
    pub fn take_new_ports(&mut self) -> Vec<(Role, u16)> {
        mem::take(&mut self.new_ports)
    }

    /// Number of open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Open connections that were evicted.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.open.evicted
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::model::NetworkNamespace;

    const SECOND: u64 = 1_000_000_000;

    fn connection(port: u16) -> Connection {
        Connection {
            local: SocketAddr::from(([127, 0, 0, 1], 443)),
            remote: SocketAddr::from(([127, 0, 0, 2], port)),
            namespace: NetworkNamespace::Unknown,
        }
    }

    fn closed(port: u16, time_ns: u64) -> ConnectionClosed {
        ConnectionClosed {
            time_ns,
            connection: connection(port),
            end: ConnectionEnd::TimedOut,
        }
    }

    fn counts(lifetimes: &Lifetimes) -> [u64; 6] {
        lifetimes.ended[Role::Server][ConnectionEnd::TimedOut].counts
    }

    #[test]
    fn a_lifetime_begins_with_the_handshake_also_where_its_end_arrives_first() {
        let mut lifetimes = Lifetimes::new();
        lifetimes.opened(&connection(1), Role::Server, (SECOND, 2 * SECOND));
        lifetimes.closed(&closed(1, 100 * SECOND));
        assert_eq!(counts(&lifetimes), [0, 0, 1, 0, 0, 0]);
        lifetimes.closed(&closed(2, 3 * SECOND));
        lifetimes.opened(&connection(2), Role::Server, (SECOND, 2 * SECOND));
        assert_eq!(counts(&lifetimes), [0, 1, 1, 0, 0, 0]);
        assert_eq!(lifetimes.take_new_ports(), [(Role::Server, 443)]);
        assert!(lifetimes.is_empty() && lifetimes.take_new_ports().is_empty());
    }

    #[test]
    fn the_end_of_an_earlier_connection_of_the_same_ports_is_ignored() {
        let mut lifetimes = Lifetimes::new();
        lifetimes.closed(&closed(1, SECOND));
        lifetimes.opened(&connection(1), Role::Server, (2 * SECOND, 3 * SECOND));
        assert_eq!(counts(&lifetimes), [0; 6]);
        assert_eq!(lifetimes.len(), 1);
    }

    #[test]
    fn open_connections_are_bounded() {
        let mut lifetimes = Lifetimes::new();
        for number in 0..=MAX_OPEN {
            let mut connection = connection(number as u16);
            let host = if number < 65_536 { 3 } else { 4 };
            connection.remote.set_ip([127, 0, 0, host].into());
            lifetimes.opened(&connection, Role::Server, (1, 2));
        }
        // The older half has left.
        let half = MAX_OPEN / 2;
        let sizes = (lifetimes.len(), lifetimes.evicted());
        assert_eq!(sizes, (half + 1, half as u64));
    }
}
