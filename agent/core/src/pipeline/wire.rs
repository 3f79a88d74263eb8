//! From segments of first flights to one [`WireRecord`] per TLS connection: ordering, reassembly,
//! parsing. Pure and clockless.
//!
//! Runs before anything is recorded: session IDs and tickets are replaced by short hashes here, and
//! no later stage sees more. Bounded in connections, bytes and time; an evicted connection ends as
//! [`end::UNKNOWN`] and is counted.

pub mod alert;
mod early_data;
mod flights;
mod hash;
mod messages;
mod parse;
mod proxy;
mod record;
mod stream;

use std::{net::SocketAddr, num::NonZeroUsize};

use lru::LruCache;
use reprise_ebpf::{
    Socket,
    wire::{SEGMENT, Segment, direction, what},
};
use zerocopy::FromBytes as _;

use self::flights::Flights;
pub use self::{
    hash::short as short_hash,
    record::{IDENTITIES, TokenRecord, WIRE, WireRecord, early, end, flag},
};
use crate::pipeline::decode::DecodeError;

/// How long a connection may be silent in its first flights before it is evicted, nanoseconds:
/// longer than the handshake timeout of common servers (nginx 60 s).
const SILENCE_LIMIT_NS: u64 = 90_000_000_000;
/// Most bytes buffered per connection: a ClientHello and a ServerHello in pieces.
const MAX_HELD: usize = 48 * 1024;

/// Connections whose ClientHello has not been seen, and something before it has.
const MAX_PRECEDED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Sizes that bound memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in their first flights at one time.
    pub max_connections: usize,
    /// Bytes of their messages buffered at one time, over all connections.
    pub max_bytes: usize,
}

/// Key of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// The socket's cookie, unique since boot.
    Cookie(u64),
    /// Network namespace, local and remote address and port, while the server has no socket yet.
    Addresses(u32, [u64; 4], u16, u16),
}

/// What precedes the ClientHello of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Preceded {
    /// The client that a header of the PROXY protocol names.
    client: Option<SocketAddr>,
    /// TLS did not begin with the first byte.
    is_late: bool,
}

/// Table of the connections in their first flights.
#[derive(Debug)]
pub struct Tracker {
    table: LruCache<Key, Flights>,
    /// What precedes ClientHellos that have not been seen; the oldest is evicted.
    preceded: LruCache<Key, Preceded>,
    limits: Limits,
    held: usize,
    evicted: u64,
}

impl Tracker {
    /// An empty tracker.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let max = NonZeroUsize::new(limits.max_connections).unwrap_or(NonZeroUsize::MIN);
        Self {
            table: LruCache::new(max),
            preceded: LruCache::new(MAX_PRECEDED),
            limits,
            held: 0,
            evicted: 0,
        }
    }

    /// Adds one event of the `wire` sensor; `out` receives every connection whose first flights it
    /// ends.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the bytes are not a segment.
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut impl FnMut(WireRecord),
    ) -> Result<(), DecodeError> {
        let short = |want| DecodeError::Short {
            got: bytes.len(),
            want,
        };
        let (segment, rest) =
            Segment::read_from_prefix(bytes).map_err(|_| short(size_of::<Segment>()))?;
        if segment.header.kind != SEGMENT {
            return Err(DecodeError::Kind(segment.header.kind));
        }
        let length = segment.length as usize;
        let body = rest
            .get(..length)
            .ok_or_else(|| short(size_of::<Segment>() + length))?;
        self.segment(&segment, body, out);
        Ok(())
    }

    fn segment(&mut self, segment: &Segment, body: &[u8], out: &mut impl FnMut(WireRecord)) {
        let key = key(&segment.socket);
        if segment.socket.cookie != 0 && !self.table.contains(&key) {
            self.adopt(&segment.socket, key);
        }
        match segment.what {
            what::PROXY => {
                if let Some(client) = proxy::client(body) {
                    let preceded = self.preceded.get_or_insert_mut(key, Preceded::default);
                    preceded.client = Some(client);
                }
                return;
            }
            what::LATE => {
                let preceded = self.preceded.get_or_insert_mut(key, Preceded::default);
                preceded.is_late = true;
                return;
            }
            _ => {}
        }
        let Some(flights) = self.table.get_mut(&key) else {
            if matches!(segment.what, what::SILENT_FIN | what::SILENT_RESET) {
                out(Flights::silent(segment));
            }
            // Only a ClientHello begins a connection; anything else belongs to one that has ended
            // or was not followed.
            if segment.what == what::HANDSHAKE
                && body.first() == Some(&messages::kind::CLIENT_HELLO)
            {
                self.begin(key, segment, out);
                self.segment_of(key, segment, body, out);
            }
            return;
        };
        flights.touch(segment);
        self.segment_of(key, segment, body, out);
    }

    fn begin(&mut self, key: Key, segment: &Segment, out: &mut impl FnMut(WireRecord)) {
        if self.table.len() == self.table.cap().get() {
            self.evict(out);
        }
        let client = segment.direction == direction::OUT;
        let mut flights = Flights::new(segment, client);
        for key in [key, early_key(&segment.socket)] {
            if let Some(Preceded { client, is_late }) = self.preceded.pop(&key) {
                flights.set_preceded(client, is_late);
            }
        }
        self.table.put(key, flights);
    }

    fn segment_of(
        &mut self,
        key: Key,
        segment: &Segment,
        body: &[u8],
        out: &mut impl FnMut(WireRecord),
    ) {
        let Some(flights) = self.table.get_mut(&key) else {
            return;
        };
        let before = flights.held();
        let mut end = flights.push(segment, body);
        if flights.held() > MAX_HELD {
            end = Some(end::UNKNOWN);
            self.evicted += 1;
        }
        self.held = self.held + flights.held() - before;
        if let Some(end) = end
            && let Some(flights) = self.table.pop(&key)
        {
            self.held -= flights.held();
            out(flights.ended(end));
        }
        while self.held > self.limits.max_bytes && !self.table.is_empty() {
            self.evict(out);
        }
    }

    /// Moves what the listener saw to the server's socket, once that exists.
    fn adopt(&mut self, socket: &Socket, key: Key) {
        let early = early_key(socket);
        if let Some(mut flights) = self.table.pop(&early) {
            flights.adopt(socket);
            self.table.put(key, flights);
        }
    }

    /// Evicts the connections that have been silent for too long.
    pub fn expire(&mut self, now_ns: u64, out: &mut impl FnMut(WireRecord)) {
        while let Some((_, oldest)) = self.table.peek_lru()
            && oldest.last_ns().saturating_add(SILENCE_LIMIT_NS) <= now_ns
        {
            self.evict(out);
        }
    }

    /// Evicts the connection that has been silent for longest.
    fn evict(&mut self, out: &mut impl FnMut(WireRecord)) {
        if let Some((_, flights)) = self.table.pop_lru() {
            self.held -= flights.held();
            self.evicted += 1;
            out(flights.ended(end::UNKNOWN));
        }
    }

    /// Connections in their first flights.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Connections evicted before their first flights ended.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

fn key(socket: &Socket) -> Key {
    match socket.cookie {
        0 => early_key(socket),
        cookie => Key::Cookie(cookie),
    }
}

const fn early_key(socket: &Socket) -> Key {
    let ([a, b], [c, d]) = (socket.local, socket.remote);
    let addresses = [a, b, c, d];
    Key::Addresses(
        socket.netns,
        addresses,
        socket.local_port,
        socket.remote_port,
    )
}

#[cfg(test)]
mod tests;
