//! Handshakes of the `wire` sensor, until the library's record of the same handshake arrives, or
//! until it is clear that none will.
//!
//! A handshake is identified by its role and its client random. A TCP relay on this host shows the
//! same random on its own sockets: of all sockets that showed a random, the client's is the first
//! if it is a connecting one, and the server's is the last if it is an accepting one. The sockets
//! between them only forward bytes.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroUsize,
};

use lru::LruCache;

use crate::model::{ClientRandom, Connection, LibraryEnd, LibraryHandshake, Role, WireHandshake};

/// How long a handshake waits for its library's record, nanoseconds. The library reports at its
/// last call, which a busy program may make late; a record that arrives later is recognised as
/// counted.
pub(super) const WAIT_NS: u64 = 3_000_000_000;
/// How long after a library abandoned a handshake without a ClientHello, one that arrives on the
/// same connection still belongs to it, nanoseconds: lost packets are retransmitted at growing
/// intervals, and the same addresses are not reused so soon (`TCP_TIMEWAIT_LEN`).
const LATE_HELLO_NS: u64 = 60_000_000_000;
/// Handshakes remembered as counted.
const MAX_COUNTED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// Sockets on which one client random is followed.
const MAX_SIGHTINGS: usize = 8;

/// Identity of one handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum HandshakeId {
    Random(Role, ClientRandom),
    Socket(Role, Connection),
}

/// All sockets that showed one client random.
#[derive(Debug)]
struct Sightings {
    handshakes: Vec<WireHandshake>,
    /// Those whose wait is not over.
    waiting: usize,
}

impl Sightings {
    /// The socket of the endpoint that has this role. Two ends on one host may see the ClientHello
    /// at the same clock reading: the connecting one is the earlier one then.
    fn endpoint(&self, role: Role) -> Option<&WireHandshake> {
        let order = |handshake: &&WireHandshake| {
            let accepting = handshake.role == Role::Server;
            (handshake.hello.begin_ns, accepting)
        };
        let edge = match role {
            Role::Client => self.handshakes.iter().min_by_key(order),
            Role::Server => self.handshakes.iter().max_by_key(order),
        };
        edge.filter(|handshake| handshake.role == role)
    }
}

/// One sighting whose wait is not over.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    end_ns: u64,
    random: ClientRandom,
    connection: Option<Connection>,
    role: Role,
}

/// A handshake that was counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// Until when a ClientHello on its connection belongs to it.
    until_ns: u64,
    from_wire: bool,
}

/// Bounded table of wire handshakes.
#[derive(Debug)]
pub(super) struct WireHandshakes {
    by_random: HashMap<ClientRandom, Sightings>,
    by_socket: HashMap<(Role, Connection), ClientRandom>,
    /// Oldest first.
    queue: VecDeque<Waiting>,
    counted: LruCache<HandshakeId, Counted>,
    max: usize,
    evicted: u64,
}

impl WireHandshakes {
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

    /// Adds a handshake whose ClientHello was read.
    pub(super) fn insert(&mut self, handshake: &WireHandshake) {
        let (role, hello) = (handshake.role, &handshake.hello);
        while self.queue.len() >= self.max {
            self.evicted += 1;
            let _ = self.expire(u64::MAX);
        }
        let random = hello.client_random;
        let sightings = self.by_random.entry(random).or_insert_with(|| Sightings {
            // Nearly always the only one, and not small.
            handshakes: Vec::with_capacity(1),
            waiting: 0,
        });
        if sightings.handshakes.len() >= MAX_SIGHTINGS {
            self.evicted += 1;
            return;
        }
        sightings.handshakes.push(*handshake);
        sightings.waiting += 1;
        if let Some(connection) = handshake.connection {
            self.by_socket.insert((role, connection), random);
        }
        self.queue.push_back(Waiting {
            end_ns: hello.end_ns,
            random,
            connection: handshake.connection,
            role,
        });
    }

    /// The wire's record of a library's handshake, which from here on is counted.
    ///
    /// # Errors
    ///
    /// [`AlreadyCounted`] if it was counted from the wire.
    pub(super) fn match_library(
        &mut self,
        role: Role,
        library: &LibraryHandshake,
    ) -> Result<Option<WireHandshake>, AlreadyCounted> {
        let id = match (library.client_random, library.connection) {
            (Some(random), _) => HandshakeId::Random(role, random),
            (None, Some(connection)) => HandshakeId::Socket(role, connection),
            (None, None) => return Ok(None),
        };
        let random = match id {
            HandshakeId::Random(_, random) => Some(random),
            HandshakeId::Socket(_, connection) => self.by_socket.get(&(role, connection)).copied(),
        };
        let wire = random
            .and_then(|random| self.by_random.get(&random)?.endpoint(role))
            // Addresses are reused: only a ClientHello inside the handshake belongs to it.
            .filter(|wire| {
                let hello = &wire.hello;
                library.client_random.is_some()
                    || (hello.begin_ns <= library.end_ns && hello.end_ns >= library.begin_ns)
            })
            .copied();
        let id = match (id, &wire) {
            (HandshakeId::Socket(..), Some(wire)) => {
                HandshakeId::Random(role, wire.hello.client_random)
            }
            (id, _) => id,
        };
        let late_hello_ns = match library.end {
            LibraryEnd::Completed => 0,
            _ => LATE_HELLO_NS,
        };
        let counted = Counted {
            until_ns: library.end_ns.saturating_add(late_hello_ns),
            from_wire: false,
        };
        match (self.counted.put(id, counted), id) {
            (Some(earlier), HandshakeId::Random(..)) if earlier.from_wire => Err(AlreadyCounted),
            // A reused connection object has the random of its last handshake until the next
            // ClientHello.
            (Some(_), HandshakeId::Random(..)) => Ok(None),
            _ => Ok(wire),
        }
    }

    /// The next handshake whose wait is over: those that ended [`WAIT_NS`] before `now_ns`. `None`
    /// when there is none left; each call removes one.
    pub(super) fn expire(&mut self, now_ns: u64) -> Option<Expired> {
        let oldest = self.queue.front()?;
        if oldest.end_ns.saturating_add(WAIT_NS) > now_ns {
            return None;
        }
        let Waiting {
            random,
            connection,
            role,
            ..
        } = self.queue.pop_front()?;
        let mut unmatched = None;
        if let Some(sightings) = self.by_random.get_mut(&random) {
            sightings.waiting -= 1;
            let endpoint = sightings.endpoint(role).copied();
            let own = endpoint.filter(|handshake| handshake.connection == connection);
            if sightings.waiting == 0 {
                self.by_random.remove(&random);
            }
            unmatched = own.filter(|handshake| !self.is_counted(role, handshake));
        }
        if let Some(connection) = connection
            && self.by_socket.get(&(role, connection)) == Some(&random)
        {
            self.by_socket.remove(&(role, connection));
        }
        if let Some(handshake) = &unmatched {
            let counted = Counted {
                until_ns: handshake.hello.end_ns,
                from_wire: true,
            };
            self.counted.put(HandshakeId::Random(role, random), counted);
        }
        Some(Expired(unmatched))
    }

    fn is_counted(&mut self, role: Role, handshake: &WireHandshake) -> bool {
        let hello = &handshake.hello;
        let by_random = HandshakeId::Random(role, hello.client_random);
        if self.counted.get(&by_random).is_some() {
            return true;
        }
        // A library whose random is not read, or that abandoned the handshake before it had one.
        handshake
            .connection
            .and_then(|connection| self.counted.get(&HandshakeId::Socket(role, connection)))
            .is_some_and(|counted| counted.until_ns >= hello.begin_ns)
    }

    /// Whether an endpoint on this host with this role showed this random.
    pub(super) fn has_endpoint(&self, role: Role, random: ClientRandom) -> bool {
        let sightings = self.by_random.get(&random);
        sightings.is_some_and(|sightings| sightings.endpoint(role).is_some())
    }

    /// Handshakes that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Handshakes evicted before their wait was over.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// The handshake was counted before, from the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AlreadyCounted;

/// A wait that is over; holds the handshake if no library reported it.
#[derive(Debug)]
pub(super) struct Expired(pub(super) Option<WireHandshake>);
