//! Sessions and tickets issued on this host, by hash. Bounded: the oldest is evicted.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::process::ProcessId;
use crate::model::{Connection, HelloFacts, Removal, ServiceId};

/// One issued session or ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IssuedSession {
    pub(super) service: ServiceId,
    /// The process that issued it, and whether a library or only the packets showed that.
    pub(super) process: Option<ProcessId>,
    pub(super) at_ns: u64,
    /// When it was issued or last accepted.
    pub(super) used_ns: u64,
    pub(super) lifetime_ns: Option<u64>,
    /// Sessions that the service and the process had issued into a cache when this one was issued
    /// or last accepted.
    pub(super) serials: Serials,
    /// Sessions that the process had issued into a cache when it issued this one.
    pub(super) issue_serial: u64,
    /// When and why it was removed from the cache.
    pub(super) removed: Option<(u64, Removal)>,
    /// Whether it was accepted once and then dropped by the cache, which allows each session to be
    /// used once.
    pub(super) used_up: bool,
    /// Its client has been issued another one since.
    pub(super) replaced: bool,
    /// Connection of its last handshake.
    pub(super) connection: Option<Connection>,
    /// Whether that connection had packet loss when it was removed.
    pub(super) lossy: bool,
}

/// Position of a session among all those issued into a cache, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Serials {
    pub(super) service: u64,
    pub(super) process: u64,
}

/// Bounded table by hash, in order of issue.
#[derive(Debug)]
struct Table {
    entries: LruCache<u64, IssuedSession>,
    evicted: u64,
}

impl Table {
    fn new(max: usize) -> Self {
        Self {
            entries: LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            evicted: 0,
        }
    }

    fn put(&mut self, hash: u64, issued: IssuedSession) {
        if let Some((other, _)) = self.entries.push(hash, issued)
            && other != hash
        {
            self.evicted += 1;
        }
    }
}

/// All tables of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Seen on the wire: session IDs, and tickets of TLS 1.2 and below.
    wire: Table,
    /// Reported by the library only: IDs of TLS 1.3 sessions, which some servers send as PSK
    /// identity.
    library_only: Table,
    /// Issued to clients on this host.
    clients: Table,
}

impl Sessions {
    /// Tables of at most `max` sessions each.
    pub(super) fn new(max: usize) -> Self {
        Self {
            wire: Table::new(max),
            library_only: Table::new(max),
            clients: Table::new(max),
        }
    }

    pub(super) fn insert(&mut self, hash: u64, issued: IssuedSession) {
        self.wire.put(hash, issued);
    }

    pub(super) fn insert_library_only(&mut self, hash: u64, issued: IssuedSession) {
        self.library_only.put(hash, issued);
    }

    /// Records what a client on this host was issued.
    pub(super) fn record_client(&mut self, hello: &HelloFacts) {
        let Some(token) = hello.issued_ticket.or(hello.issued_id) else {
            return;
        };
        if self.clients.entries.contains(&token.hash) {
            return;
        }
        let hint = hello.lifetime_hint_s.filter(|seconds| *seconds > 0);
        let issued = IssuedSession {
            service: ServiceId::default(),
            process: None,
            at_ns: hello.end_ns,
            used_ns: hello.end_ns,
            lifetime_ns: hint.map(|seconds| u64::from(seconds) * 1_000_000_000),
            serials: Serials::default(),
            issue_serial: 0,
            removed: None,
            used_up: false,
            replaced: false,
            connection: None,
            lossy: false,
        };
        self.clients.put(token.hash, issued);
    }

    /// A session issued by a server here; leaves its position in the order of eviction.
    pub(super) fn get(&self, hash: u64) -> Option<&IssuedSession> {
        let wire = self.wire.entries.peek(&hash);
        wire.or_else(|| self.library_only.entries.peek(&hash))
    }

    pub(super) fn get_mut(&mut self, hash: u64) -> Option<&mut IssuedSession> {
        match self.wire.entries.peek_mut(&hash) {
            Some(issued) => Some(issued),
            None => self.library_only.entries.peek_mut(&hash),
        }
    }

    /// Removes a session issued by a server here.
    pub(super) fn remove(&mut self, hash: u64) {
        self.wire.entries.pop(&hash);
        self.library_only.entries.pop(&hash);
    }

    /// A session issued to a client here.
    pub(super) fn get_client(&self, hash: u64) -> Option<&IssuedSession> {
        self.clients.entries.peek(&hash)
    }

    /// Whether only the library reported its issue.
    pub(super) fn is_library_only(&self, hash: u64) -> bool {
        !self.wire.entries.contains(&hash)
    }

    /// All sessions issued by servers here.
    pub(super) fn iter(&self) -> impl Iterator<Item = &IssuedSession> {
        let library_only = self.library_only.entries.iter();
        let all = self.wire.entries.iter().chain(library_only);
        all.map(|(_, issued)| issued)
    }

    const fn tables(&self) -> [&Table; 3] {
        [&self.wire, &self.library_only, &self.clients]
    }

    pub(super) fn len(&self) -> usize {
        self.tables().map(|table| table.entries.len()).iter().sum()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.tables().map(|table| table.evicted).iter().sum()
    }
}
