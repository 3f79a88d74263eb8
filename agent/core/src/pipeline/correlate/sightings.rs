//! The sockets of this host on which one client random was observed.
//!
//! A TCP relay on this host repeats the random of its client on its own sockets: on the one that it
//! accepted, and a little later on the one that it opened to the server. Neither is an end of the
//! handshake. Without a relay, several sockets show one random only where clients have no entropy
//! or repeat the random on purpose: then each connection is a handshake of its own.

use crate::model::{Connection, Role, WireHandshake};

/// Maximum number of sockets that are compared with each other; more of them are not a chain of
/// relays.
const MAX_SIGHTINGS: usize = 8;

/// One socket on which the random was observed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) role: Role,
    pub(super) connection: Option<Connection>,
    begin_ns: u64,
    end_ns: u64,
    /// A library reported the handshake of this socket, which is therefore an end of it.
    has_library: bool,
}

impl Sighting {
    /// Whether a relay that accepted `self` may have opened `onward` for it. Both ends on one host
    /// may see a ClientHello at the same clock reading, a relay only later.
    const fn may_continue_in(&self, onward: &Self) -> bool {
        matches!((self.role, onward.role), (Role::Server, Role::Client))
            && !self.has_library
            && !onward.has_library
            && onward.begin_ns > self.begin_ns
            && onward.begin_ns <= self.end_ns
    }

    /// Whether `other` is the opposite end of this connection.
    fn is_opposite(&self, other: &Self) -> bool {
        let both = self.connection.zip(other.connection);
        both.is_some_and(|(one, other)| one.is_opposite(&other))
    }
}

/// All sockets on which one client random was observed.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    sockets: Vec<Sighting>,
    /// More sockets than are compared showed it.
    crowded: bool,
    /// Number of sockets whose wait is not over.
    pub(super) waiting: usize,
}

impl Sightings {
    /// Adds a socket.
    pub(super) fn insert(&mut self, handshake: &WireHandshake) {
        self.waiting += 1;
        if self.crowded {
            return;
        }
        if self.sockets.len() >= MAX_SIGHTINGS {
            self.crowded = true;
            self.sockets = Vec::new();
            return;
        }
        // Nearly always the only one.
        self.sockets.reserve_exact(1);
        self.sockets.push(Sighting {
            role: handshake.role,
            connection: handshake.connection,
            begin_ns: handshake.hello.begin_ns,
            end_ns: handshake.hello.end_ns,
            has_library: false,
        });
    }

    /// Records that a library reported the handshake of this socket.
    pub(super) fn match_library(&mut self, role: Role, connection: Option<Connection>) {
        for socket in &mut self.sockets {
            socket.has_library |= socket.role == role && socket.connection == connection;
        }
    }

    /// The sockets with this role that are ends of a handshake; none where there are too many to
    /// compare.
    pub(super) fn endpoints(&self, role: Role) -> impl Iterator<Item = &Sighting> {
        let endpoints = self
            .sockets
            .iter()
            .filter(|socket| !self.belongs_to_relay(socket));
        endpoints.filter(move |socket| socket.role == role)
    }

    /// Whether this socket is an end of a handshake.
    pub(super) fn is_endpoint(&self, role: Role, connection: Option<Connection>) -> bool {
        self.crowded
            || self
                .endpoints(role)
                .any(|socket| socket.connection == connection)
    }

    /// Whether there are more ends than those of one handshake.
    pub(super) fn is_repeated(&self) -> bool {
        let mut roles = Role::ALL.into_iter();
        self.crowded || roles.any(|role| self.endpoints(role).nth(1).is_some())
    }

    /// Whether this socket belongs to a relay.
    fn belongs_to_relay(&self, socket: &Sighting) -> bool {
        self.sockets.iter().any(|other| match socket.role {
            Role::Server => self.is_relay(socket, other),
            Role::Client => self.is_relay(other, socket),
        })
    }

    /// Whether a relay accepted one connection and opened the other for it. A connection that leads
    /// to the service that accepted the first one belongs to another client.
    fn is_relay(&self, accepted: &Sighting, opened: &Sighting) -> bool {
        let leads_back = || {
            let mut sockets = self.sockets.iter();
            let same_service = |socket: &Sighting| {
                let local = |socket: &Sighting| socket.connection.map(|it| it.end(it.local));
                socket.role == Role::Server && local(socket) == local(accepted)
            };
            sockets.any(|socket| same_service(socket) && socket.is_opposite(opened))
        };
        accepted.may_continue_in(opened) && !leads_back()
    }
}
