//! Loss that no running handshake explains: of connections to a service that never came to a handshake, and of a handshake's
//! last flight, which its library thinks delivered. Bounded: the least recently seen is forgotten.

use std::{net::SocketAddr, num::NonZeroUsize};

use lru::LruCache;

use super::{
    Role,
    history::Mark,
    trouble::{Direction, Phase},
};
use crate::pipeline::event::Connection;

/// TLS services remembered, of this host and of others.
const MAX_SERVICES: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// Completed handshakes remembered: their last flight is acknowledged within a round trip, or sent again a few times.
const MAX_COMPLETED: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// One retransmission to be counted beside those of the handshakes that are observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Side of this host.
    pub role: Role,
    /// Where it fell.
    pub phase: Phase,
    /// Whose it was.
    pub direction: Direction,
    /// The connection.
    pub connection: Connection,
    /// The first one of a handshake that was observed as completed without any.
    pub first: bool,
}

/// A service that speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Service {
    /// A port of this host.
    Port(u16),
    /// One that this host is a client of.
    Remote(SocketAddr),
}

impl Service {
    const fn of(role: Role, connection: &Connection) -> Self {
        match role {
            Role::Server => Self::Port(connection.local.port()),
            Role::Client => Self::Remote(connection.remote),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Losses {
    services: LruCache<Service, ()>,
    /// Role, end, and whether loss was seen.
    completed: LruCache<Connection, (Role, u64, bool)>,
}

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            services: LruCache::new(MAX_SERVICES),
            completed: LruCache::new(MAX_COMPLETED),
        }
    }

    /// A handshake was observed.
    pub(super) fn ended(
        &mut self,
        role: Role,
        connection: &Connection,
        end_ns: u64,
        completed: bool,
        loss: bool,
    ) {
        self.services.put(Service::of(role, connection), ());
        if completed {
            self.completed.put(*connection, (role, end_ns, loss));
        } else {
            self.completed.pop(connection);
        }
    }

    /// Whether the handshake on this connection, which completed, met loss.
    pub(super) fn met_loss(&self, connection: &Connection) -> bool {
        let completed = self.completed.peek(connection);
        completed.is_some_and(|(_, _, loss)| *loss)
    }

    /// What is to be counted of a mark at once, and whether that is all there is to it.
    pub(super) fn mark(
        &mut self,
        connection: &Connection,
        at_ns: u64,
        mark: Mark,
    ) -> Option<(Loss, bool)> {
        let (phase, direction) = match mark {
            Mark::Again(Phase::Handshake, Direction::Received) => {
                (Phase::Handshake, Direction::Received)
            }
            Mark::LastFlight => (Phase::Handshake, Direction::Sent),
            Mark::Again(phase @ (Phase::Syn | Phase::SynAck), direction) => {
                return self.set_up(connection, phase, direction);
            }
            _ => return None,
        };
        let (role, end_ns, loss) = self.completed.get_mut(connection)?;
        if at_ns <= *end_ns {
            return None;
        }
        let first = !*loss;
        *loss = true;
        let loss = Loss {
            role: *role,
            phase,
            direction,
            connection: *connection,
            first,
        };
        Some((loss, true))
    }

    /// A SYN or SYN-ACK was sent again: it counts where TLS is spoken, whatever becomes of the connection.
    fn set_up(
        &self,
        connection: &Connection,
        phase: Phase,
        direction: Direction,
    ) -> Option<(Loss, bool)> {
        let role = match (phase, direction) {
            (Phase::Syn, Direction::Sent) | (Phase::SynAck, Direction::Received) => Role::Client,
            _ => Role::Server,
        };
        let loss = Loss {
            role,
            phase,
            direction,
            connection: *connection,
            first: false,
        };
        self.services
            .contains(&Service::of(role, connection))
            .then_some((loss, false))
    }
}
