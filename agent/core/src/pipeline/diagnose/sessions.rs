//! Sessions and tickets that were given on this host, as hashes. Bounded: the oldest goes first, and how far back nothing is
//! missing is known.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::model::{Connection, HelloFacts, Removal, ServiceId};

/// One session or ticket that a service gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Issued {
    /// Who.
    pub(super) service: ServiceId,
    /// When, nanoseconds.
    pub(super) at_ns: u64,
    /// For how long, nanoseconds.
    pub(super) lifetime_ns: Option<u64>,
    /// When and why it was taken out of the cache.
    pub(super) removed: Option<(u64, Removal)>,
    /// The connection of its last handshake.
    pub(super) connection: Option<Connection>,
    /// That connection had met loss when it was taken out.
    pub(super) lossy: bool,
}

/// A bounded table by hash, in order of giving.
#[derive(Debug)]
struct Table {
    entries: LruCache<u64, Issued>,
    evicted: u64,
    forgotten_until_ns: u64,
}

impl Table {
    fn new(max: usize) -> Self {
        Self {
            entries: LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            evicted: 0,
            forgotten_until_ns: 0,
        }
    }

    fn put(&mut self, hash: u64, issued: Issued) {
        if let Some((other, old)) = self.entries.push(hash, issued)
            && other != hash
        {
            self.evicted += 1;
            self.forgotten_until_ns = self.forgotten_until_ns.max(old.at_ns);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Seen on the wire: IDs and tickets of TLS 1.2 and below.
    seen: Table,
    /// Told by the library alone: IDs of TLS 1.3, which only some servers put into the ticket's place.
    hidden: Table,
    /// Given to clients on this host.
    clients: Table,
}

impl Sessions {
    /// At most `max` of each kind.
    pub(super) fn new(max: usize) -> Self {
        Self {
            seen: Table::new(max),
            hidden: Table::new(max),
            clients: Table::new(max),
        }
    }

    pub(super) fn put(&mut self, hash: u64, issued: Issued) {
        self.seen.put(hash, issued);
    }

    pub(super) fn put_hidden(&mut self, hash: u64, issued: Issued) {
        self.hidden.put(hash, issued);
    }

    /// What a client was given.
    pub(super) fn note_client(&mut self, hello: &HelloFacts) {
        let lifetime_ns = hello
            .lifetime_hint_s
            .map(|hint| u64::from(hint) * 1_000_000_000);
        if let Some(token) = hello.issued_ticket.or(hello.issued_id)
            && !self.clients.entries.contains(&token.hash)
        {
            let issued = Issued {
                service: ServiceId::default(),
                at_ns: hello.end_ns,
                lifetime_ns,
                removed: None,
                connection: None,
                lossy: false,
            };
            self.clients.put(token.hash, issued);
        }
    }

    /// One that a server gave. Does not make it younger.
    pub(super) fn get(&self, hash: u64) -> Option<&Issued> {
        let seen = self.seen.entries.peek(&hash);
        seen.or_else(|| self.hidden.entries.peek(&hash))
    }

    pub(super) fn get_mut(&mut self, hash: u64) -> Option<&mut Issued> {
        match self.seen.entries.peek_mut(&hash) {
            Some(issued) => Some(issued),
            None => self.hidden.entries.peek_mut(&hash),
        }
    }

    /// One that a client was given.
    pub(super) fn get_client(&self, hash: u64) -> Option<&Issued> {
        self.clients.entries.peek(&hash)
    }

    /// Whether the wire did not show it being given.
    pub(super) fn is_hidden(&self, hash: u64) -> bool {
        !self.seen.entries.contains(&hash)
    }

    /// All that servers gave.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Issued> {
        let all = self.seen.entries.iter().chain(self.hidden.entries.iter());
        all.map(|(_, issued)| issued)
    }

    const fn tables(&self) -> [&Table; 3] {
        [&self.seen, &self.hidden, &self.clients]
    }

    pub(super) fn len(&self) -> usize {
        self.tables().map(|table| table.entries.len()).iter().sum()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.tables().map(|table| table.evicted).iter().sum()
    }

    /// When the youngest of those forgotten for room was given, nanoseconds: everything younger is remembered.
    pub(super) const fn forgotten_until_ns(&self) -> u64 {
        let (seen, hidden) = (self.seen.forgotten_until_ns, self.hidden.forgotten_until_ns);
        if seen > hidden { seen } else { hidden }
    }
}
