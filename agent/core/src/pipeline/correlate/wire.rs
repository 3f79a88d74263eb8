//! What the `hello` sensor saw of handshakes, until the library sensor claims it, or until it is clear that none will.
//!
//! A handshake is named by its role and its client random. A TCP relay on this host shows the same random on sockets of its
//! own: of all sockets that a random was seen on, the client's is the first, where it is a connecting one, and the server's is
//! the last, where it is an accepting one. Whatever lies between only passes bytes on.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroUsize,
};

use lru::LruCache;
use reprise_ebpf::handshake::{HandshakeEvent, flag as library_flag, outcome, role};

use super::Role;
use crate::pipeline::{
    event::Connection,
    wire::{HelloEvent, flag},
};

/// How long a handshake seen on the wire waits for the library that made it, nanoseconds. The library tells at its last call,
/// which a busy program may make late; what comes later still is recognised as counted.
pub(super) const WAIT_NS: u64 = 3_000_000_000;
/// How long after a library gave up a handshake, without having seen a ClientHello, one that comes on that connection is still its own,
/// nanoseconds: lost packets are sent again later and later, and the same addresses are not used again so soon (`TCP_TIMEWAIT_LEN`).
const TARDY_NS: u64 = 60_000_000_000;
/// Handshakes remembered as counted.
const MAX_COUNTED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// Sockets that one client random is followed over.
const MAX_SIGHTINGS: usize = 8;

type Random = [u8; 32];

/// One handshake under one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Random(Role, Random),
    Socket(Role, Connection),
}

/// All sockets that showed one client random.
#[derive(Debug)]
struct Sightings {
    seen: Vec<HelloEvent>,
    /// Those whose wait is not over.
    waiting: usize,
}

impl Sightings {
    /// The socket of the endpoint that has this role.
    fn endpoint(&self, role: Role) -> Option<&HelloEvent> {
        let edge = match role {
            Role::Client => self.seen.iter().min_by_key(|hello| hello.begin_ns),
            Role::Server => self.seen.iter().max_by_key(|hello| hello.begin_ns),
        };
        edge.filter(|hello| role_of(hello) == Some(role))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wires {
    by_random: HashMap<Random, Sightings>,
    by_socket: HashMap<(Role, Connection), Random>,
    /// Ends, oldest first: when, and whose.
    queue: VecDeque<(u64, Random, Option<Connection>, Role)>,
    /// What was counted, until when a ClientHello on its connection is its own, and whether the wire told.
    counted: LruCache<Name, (u64, bool)>,
    max: usize,
    evicted: u64,
}

impl Wires {
    /// At most `max` handshakes wait.
    pub(super) fn new(max: usize) -> Self {
        Self {
            by_random: HashMap::new(),
            by_socket: HashMap::new(),
            queue: VecDeque::new(),
            counted: LruCache::new(MAX_COUNTED),
            max,
            evicted: 0,
        }
    }

    /// Takes what the sensor tells.
    pub(super) fn record(&mut self, hello: &HelloEvent) {
        let (Some(role), true) = (role_of(hello), hello.has(flag::OFFER_READ)) else {
            return;
        };
        while self.queue.len() >= self.max {
            self.evicted += 1;
            let _ = self.mature(u64::MAX);
        }
        let connection = Connection::of(&hello.socket);
        let random = hello.client_random;
        let sightings = self.by_random.entry(random).or_insert_with(|| Sightings {
            // Nearly always the only one, and not small.
            seen: Vec::with_capacity(1),
            waiting: 0,
        });
        if sightings.seen.len() >= MAX_SIGHTINGS {
            self.evicted += 1;
            return;
        }
        sightings.seen.push(*hello);
        sightings.waiting += 1;
        if let Some(connection) = connection {
            self.by_socket.insert((role, connection), random);
        }
        self.queue
            .push_back((hello.header.time_ns, random, connection, role));
    }

    /// What was seen of a handshake that a library tells of; from here on it is counted. `Err` where it was counted already,
    /// from the wire.
    pub(super) fn claim(
        &mut self,
        role: Role,
        event: &HandshakeEvent,
    ) -> Result<Option<HelloEvent>, Counted> {
        // All zeroes before a ClientHello.
        let readable = event.flags & library_flag::RANDOM != 0 && event.client_random != [0; 32];
        let connection = Connection::of_handshake(event);
        let name = match connection {
            _ if readable => Name::Random(role, event.client_random),
            Some(connection) => Name::Socket(role, connection),
            None => return Ok(None),
        };
        let random = match name {
            Name::Random(_, random) => Some(random),
            Name::Socket(_, connection) => self.by_socket.get(&(role, connection)).copied(),
        };
        let hello = random
            .and_then(|random| self.by_random.get(&random)?.endpoint(role))
            // A socket's name is used again by and by: only a ClientHello inside the handshake is its own.
            .filter(|hello| {
                readable
                    || (hello.begin_ns <= event.header.time_ns
                        && hello.header.time_ns >= event.begin_ns)
            })
            .copied();
        let name = match (name, &hello) {
            (Name::Socket(..), Some(hello)) => Name::Random(role, hello.client_random),
            (name, _) => name,
        };
        let tardy_ns = match event.outcome {
            outcome::COMPLETED => 0,
            _ => TARDY_NS,
        };
        let until_ns = event.header.time_ns.saturating_add(tardy_ns);
        match (self.counted.put(name, (until_ns, false)), name) {
            (Some((_, true)), Name::Random(..)) => Err(Counted),
            // An object that is used again shows the random of its last handshake until the next ClientHello.
            (Some((_, false)), Name::Random(..)) => Ok(None),
            _ => Ok(hello),
        }
    }

    /// The next handshake that no library claimed, of those that ended [`WAIT_NS`] before `now_ns`. `None` when there is none
    /// left; each call settles at least one.
    pub(super) fn mature(&mut self, now_ns: u64) -> Option<Settled> {
        let (end_ns, ..) = self.queue.front()?;
        if end_ns.saturating_add(WAIT_NS) > now_ns {
            return None;
        }
        let (_, random, connection, role) = self.queue.pop_front()?;
        let mut alone = None;
        if let Some(sightings) = self.by_random.get_mut(&random) {
            sightings.waiting -= 1;
            let endpoint = sightings.endpoint(role).copied();
            let own = endpoint.filter(|hello| Connection::of(&hello.socket) == connection);
            if sightings.waiting == 0 {
                self.by_random.remove(&random);
            }
            alone = own.filter(|hello| !self.is_counted(role, hello));
        }
        if let Some(connection) = connection
            && self.by_socket.get(&(role, connection)) == Some(&random)
        {
            self.by_socket.remove(&(role, connection));
        }
        if let Some(hello) = &alone {
            self.counted
                .put(Name::Random(role, random), (hello.header.time_ns, true));
        }
        Some(Settled(alone))
    }

    fn is_counted(&mut self, role: Role, hello: &HelloEvent) -> bool {
        if self
            .counted
            .get(&Name::Random(role, hello.client_random))
            .is_some()
        {
            return true;
        }
        // A library that does not tell the random, or that gave up before it had one.
        Connection::of(&hello.socket)
            .and_then(|connection| self.counted.get(&Name::Socket(role, connection)))
            .is_some_and(|(until_ns, _)| *until_ns >= hello.begin_ns)
    }

    /// Handshakes that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Handshakes that did not wait to the end, for want of room.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// It was counted before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted;

/// One wait that is over; holds the handshake where nobody claimed it.
#[derive(Debug)]
pub(super) struct Settled(pub(super) Option<HelloEvent>);

/// Side of the observed process.
pub(super) const fn role_of(hello: &HelloEvent) -> Option<Role> {
    match hello.role {
        role::SERVER => Some(Role::Server),
        role::CLIENT => Some(Role::Client),
        _ => None,
    }
}
