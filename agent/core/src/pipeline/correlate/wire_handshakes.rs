//! Handshakes of the `wire` sensor, until the library's record of the same handshake arrives, or
//! until it is clear that none will.
//!
//! A handshake is identified by its role, its client random and its connection, since clients can
//! repeat a random. The library's record of a program that moves the bytes itself may have no
//! connection, or another one: it belongs to the end of the handshake that its random names
//! (`sightings`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    aging_map::AgingMap,
    fingerprint::{Fingerprint, Fingerprints},
    sightings::Sightings,
};
use crate::model::{
    ClientRandom, Connection, LibraryEnd, LibraryHandshake, Role, SocketSource, WireHandshake,
};

/// How long a handshake waits for its library's record, nanoseconds. The library reports at its
/// last call, which a busy program may make late; a record that arrives later is recognised as
/// counted.
pub(super) const WAIT_NS: u64 = 3_000_000_000;
/// How long after a library abandoned a handshake without a ClientHello, one that arrives on the
/// same connection still belongs to it, nanoseconds: lost packets are retransmitted at growing
/// intervals, and the same addresses are not reused so soon (`TCP_TIMEWAIT_LEN`).
const LATE_HELLO_NS: u64 = 60_000_000_000;
/// The newest counted handshakes, which are remembered.
const MAX_COUNTED: usize = 65_536;

/// Identity of a wire handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct HelloId {
    role: Role,
    random: ClientRandom,
    /// `None` for a library's handshake whose connection is not certain.
    connection: Option<Connection>,
}

impl HelloId {
    const fn from_wire(handshake: &WireHandshake) -> Self {
        Self {
            role: handshake.role,
            random: handshake.hello.client_random,
            connection: handshake.connection,
        }
    }

    /// The same ClientHello on an unknown connection.
    const fn anywhere(self) -> Self {
        Self {
            connection: None,
            ..self
        }
    }
}

/// Identity of a handshake that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum HandshakeId {
    Hello(HelloId),
    Socket(Role, Connection),
}

/// One handshake whose wait is not over.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    end_ns: u64,
    id: HelloId,
}

/// A handshake that was counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// Until when a ClientHello on its connection belongs to it.
    until_ns: u64,
    from_wire: bool,
    /// Number of counted handshakes with the same role and random and no certain connection.
    times: u32,
}

/// Bounded table of wire handshakes.
#[derive(Debug)]
pub(super) struct WireHandshakes {
    handshakes: HashMap<HelloId, Arc<WireHandshake>>,
    by_random: HashMap<ClientRandom, Sightings>,
    by_socket: HashMap<(Role, Connection), ClientRandom>,
    /// Oldest first.
    queue: VecDeque<Waiting>,
    /// By [`HandshakeId`].
    counted: AgingMap<Counted>,
    ids: Fingerprints,
    max: usize,
    evicted: u64,
}

impl WireHandshakes {
    /// At most `max` handshakes wait.
    pub(super) fn new(max: usize) -> Self {
        Self {
            handshakes: HashMap::new(),
            by_random: HashMap::new(),
            by_socket: HashMap::new(),
            queue: VecDeque::new(),
            counted: AgingMap::new(MAX_COUNTED),
            ids: Fingerprints::default(),
            max,
            evicted: 0,
        }
    }

    /// Adds a handshake whose ClientHello was read. One that repeats the random of the last one on
    /// its own connection is evicted at once.
    pub(super) fn insert(&mut self, handshake: Arc<WireHandshake>) {
        while self.queue.len() >= self.max {
            self.evicted += 1;
            let _ = self.expire(u64::MAX);
        }
        let id = HelloId::from_wire(&handshake);
        if self.handshakes.contains_key(&id) {
            self.evicted += 1;
            return;
        }
        self.by_random
            .entry(id.random)
            .or_default()
            .insert(&handshake);
        if let Some(connection) = id.connection {
            self.by_socket.insert((id.role, connection), id.random);
        }
        self.queue.push_back(Waiting {
            end_ns: handshake.hello.end_ns,
            id,
        });
        self.handshakes.insert(id, handshake);
    }

    /// Returns the wire's record of a library's handshake, and records the handshake as counted.
    ///
    /// # Errors
    ///
    /// [`AlreadyCounted`] if it was counted from the wire.
    pub(super) fn match_library(
        &mut self,
        role: Role,
        library: &LibraryHandshake,
    ) -> Result<Option<Arc<WireHandshake>>, AlreadyCounted> {
        let (wire, own) = match (library.client_random, library.connection) {
            (Some(random), connection) => {
                let certain = library.socket_source == Some(SocketSource::InCall);
                let own = HelloId {
                    role,
                    random,
                    connection: connection.filter(|_| certain),
                };
                (self.find(own, library), HandshakeId::Hello(own))
            }
            (None, Some(connection)) => {
                let wire = self.find_by_socket(role, connection, library);
                (wire, HandshakeId::Socket(role, connection))
            }
            (None, None) => return Ok(None),
        };
        let hello = wire.as_deref().map(HelloId::from_wire);
        let id = hello.map_or(own, HandshakeId::Hello);
        if let Some(wire) = &wire
            && let Some(sightings) = self.by_random.get_mut(&wire.hello.client_random)
        {
            sightings.match_library(role, wire.connection);
        }
        let late_hello_ns = match library.end {
            LibraryEnd::Completed => 0,
            _ => LATE_HELLO_NS,
        };
        let counted = Counted {
            until_ns: library.end_ns.saturating_add(late_hello_ns),
            from_wire: false,
            times: 1,
        };
        match (self.count(id, counted), id) {
            (Some(earlier), HandshakeId::Hello(_)) if earlier.from_wire => Err(AlreadyCounted),
            // A reused connection object has the random of its last handshake until the next
            // ClientHello.
            (Some(_), HandshakeId::Hello(_)) => Ok(None),
            _ => Ok(wire),
        }
    }

    /// The wire's record with this identity; else, where the random names exactly one handshake
    /// that is not counted, or the library knows no connection, the nearest one.
    fn find(&self, id: HelloId, library: &LibraryHandshake) -> Option<Arc<WireHandshake>> {
        let with = |connection| self.handshakes.get(&HelloId { connection, ..id }).cloned();
        let exact = library
            .connection
            .and_then(|connection| with(Some(connection)));
        if exact.is_some() {
            return exact;
        }
        let sightings = self.by_random.get(&id.random)?;
        if id.connection.is_some() && sightings.is_repeated() {
            return None;
        }
        let free = sightings
            .endpoints(id.role)
            .filter_map(|socket| with(socket.connection))
            .filter(|wire| {
                let id = HandshakeId::Hello(HelloId::from_wire(wire));
                self.counted.get(self.ids.of(&id)).is_none()
            });
        free.min_by_key(|wire| wire.hello.begin_ns.abs_diff(library.begin_ns))
    }

    /// The wire's record on this connection. Addresses are reused: only a ClientHello inside the
    /// handshake belongs to it.
    fn find_by_socket(
        &self,
        role: Role,
        connection: Connection,
        library: &LibraryHandshake,
    ) -> Option<Arc<WireHandshake>> {
        let random = *self.by_socket.get(&(role, connection))?;
        let id = HelloId {
            role,
            random,
            connection: Some(connection),
        };
        let wire = self.handshakes.get(&id).cloned();
        wire.filter(|wire| {
            let hello = &wire.hello;
            hello.begin_ns <= library.end_ns && hello.end_ns >= library.begin_ns
        })
    }

    /// The next handshake whose wait is over: those that ended [`WAIT_NS`] before `now_ns`. `None`
    /// when there is none left; each call removes one.
    pub(super) fn expire(&mut self, now_ns: u64) -> Option<Expired> {
        let oldest = self.queue.front()?;
        if oldest.end_ns.saturating_add(WAIT_NS) > now_ns {
            return None;
        }
        let Waiting { id, .. } = self.queue.pop_front()?;
        let handshake = self.handshakes.remove(&id);
        let mut is_endpoint = false;
        if let Some(sightings) = self.by_random.get_mut(&id.random) {
            is_endpoint = sightings.is_endpoint(id.role, id.connection);
            sightings.waiting -= 1;
            if sightings.waiting == 0 {
                self.by_random.remove(&id.random);
            }
        }
        if let Some(connection) = id.connection
            && self.by_socket.get(&(id.role, connection)) == Some(&id.random)
        {
            self.by_socket.remove(&(id.role, connection));
        }
        let handshake = handshake.filter(|_| is_endpoint);
        let unmatched = handshake.filter(|handshake| !self.is_counted(id, handshake));
        if let Some(handshake) = &unmatched {
            let counted = Counted {
                until_ns: handshake.hello.end_ns,
                from_wire: true,
                times: 1,
            };
            // The library's record may know no connection.
            for id in [id, id.anywhere()] {
                self.count(HandshakeId::Hello(id), counted);
            }
        }
        Some(Expired(unmatched))
    }

    /// Records that a handshake was counted; returns the earlier record of the same one. Where the
    /// connection is not certain, one record of the other sensor is consumed.
    fn count(&mut self, id: HandshakeId, counted: Counted) -> Option<Counted> {
        let certain = match id {
            HandshakeId::Hello(hello) => hello.connection.is_some(),
            HandshakeId::Socket(..) => true,
        };
        let id = self.ids.of(&id);
        if certain {
            return self.counted.put(id, counted);
        }
        let earlier = self.counted.get(id).copied();
        match earlier {
            Some(earlier) if earlier.from_wire != counted.from_wire => self.use_up(id),
            Some(Counted { times, .. }) => {
                let times = times.saturating_add(1);
                self.counted.put(id, Counted { times, ..counted });
            }
            None => {
                self.counted.put(id, counted);
            }
        }
        earlier
    }

    fn use_up(&mut self, id: Fingerprint) {
        match self.counted.get_mut(id) {
            Some(counted) if counted.times > 1 => counted.times -= 1,
            _ => {
                self.counted.remove(id);
            }
        }
    }

    fn is_counted(&mut self, id: HelloId, handshake: &WireHandshake) -> bool {
        let by_library = |counted: &Counted| !counted.from_wire;
        let own = self.ids.of(&HandshakeId::Hello(id));
        if self.counted.get(own).is_some() {
            return true;
        }
        // A library that knew no connection counted one of those with this random.
        let anywhere = self.ids.of(&HandshakeId::Hello(id.anywhere()));
        if self.counted.get(anywhere).is_some_and(by_library) {
            self.use_up(anywhere);
            return true;
        }
        // The library's random was not read, or the library abandoned the handshake before it had
        // one.
        let socket = handshake
            .connection
            .map(|connection| self.ids.of(&HandshakeId::Socket(id.role, connection)));
        socket
            .and_then(|socket| self.counted.get(socket))
            .is_some_and(|counted| counted.until_ns >= handshake.hello.begin_ns)
    }

    /// Whether an endpoint on this host with this role showed this random, and no other handshake
    /// did.
    pub(super) fn has_endpoint(&self, role: Role, random: ClientRandom) -> bool {
        let sightings = self.by_random.get(&random);
        sightings.is_some_and(|sightings| {
            !sightings.is_repeated() && sightings.endpoints(role).next().is_some()
        })
    }

    /// Whether several handshakes that wait have this random.
    pub(super) fn is_repeated(&self, random: ClientRandom) -> bool {
        let sightings = self.by_random.get(&random);
        sightings.is_some_and(Sightings::is_repeated)
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
pub(super) struct Expired(pub(super) Option<Arc<WireHandshake>>);
