//! Packet loss that no running handshake explains: on connections to a TLS service that do not
//! reach a handshake, and of a handshake's last flight, which its library considers delivered.
//! Bounded: the oldest entries are forgotten.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::{aging_map::AgingMap, finding::LateLoss, fingerprint::Fingerprints};
use crate::model::{
    Connection, Direction, End, NetworkNamespace, Phase, Role, TcpEvent,
    TcpEventKind::{LastFlightRetransmission, Retransmission},
};

/// TLS services remembered, on this host and on others.
const MAX_SERVICES: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// The newest completed handshakes, which are remembered: their last flight is acknowledged within
/// a round trip, or retransmitted a few times.
const MAX_COMPLETED: usize = 16_384;

/// A service that speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum TlsService {
    /// A port of this host, in a network namespace.
    Port(NetworkNamespace, u16),
    /// A server that this host is a client of.
    Remote(End),
}

impl TlsService {
    const fn from_connection(role: Role, connection: &Connection) -> Self {
        match role {
            Role::Server => Self::Port(connection.namespace, connection.local.port()),
            Role::Client => Self::Remote(connection.end(connection.remote)),
        }
    }
}

/// A completed handshake whose last flight may still be retransmitted.
#[derive(Debug, Clone, Copy)]
struct Completed {
    role: Role,
    end_ns: u64,
    had_loss: bool,
}

/// A late loss, and whether a handshake still needs the event as evidence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detected {
    pub(super) loss: LateLoss,
    /// The event belongs to a handshake that is over, and to nothing else.
    pub(super) consumed: bool,
}

/// Late-loss detector.
#[derive(Debug)]
pub(super) struct LateLosses {
    services: LruCache<TlsService, ()>,
    /// By connection.
    completed: AgingMap<Completed>,
    connections: Fingerprints,
}

impl LateLosses {
    pub(super) fn new() -> Self {
        Self {
            services: LruCache::new(MAX_SERVICES),
            completed: AgingMap::new(MAX_COMPLETED),
            connections: Fingerprints::default(),
        }
    }

    /// Adds a completed handshake.
    pub(super) fn completed(
        &mut self,
        role: Role,
        connection: &Connection,
        end_ns: u64,
        had_loss: bool,
    ) {
        let service = TlsService::from_connection(role, connection);
        self.services.put(service, ());
        let completed = Completed {
            role,
            end_ns,
            had_loss,
        };
        self.completed
            .put(self.connections.of(connection), completed);
    }

    /// Adds a failed handshake.
    pub(super) fn failed(&mut self, role: Role, connection: &Connection) {
        let service = TlsService::from_connection(role, connection);
        self.services.put(service, ());
        self.completed.remove(self.connections.of(connection));
    }

    /// Whether the completed handshake on this connection had packet loss.
    pub(super) fn had_loss(&self, connection: &Connection) -> bool {
        let completed = self.completed.get(self.connections.of(connection));
        completed.is_some_and(|completed| completed.had_loss)
    }

    /// Returns the late loss that an event shows, if any.
    pub(super) fn detect(&mut self, event: &TcpEvent) -> Option<Detected> {
        let direction = match event.kind {
            Retransmission(Phase::Handshake, Direction::Received) => Direction::Received,
            LastFlightRetransmission => Direction::Sent,
            Retransmission(phase @ (Phase::Syn | Phase::SynAck), direction) => {
                return self.during_set_up(&event.connection, phase, direction);
            }
            _ => return None,
        };
        let connection = self.connections.of(&event.connection);
        let completed = self.completed.get_mut(connection)?;
        if event.time_ns <= completed.end_ns {
            return None;
        }
        let first = !completed.had_loss;
        completed.had_loss = true;
        let loss = LateLoss {
            role: completed.role,
            phase: Phase::Handshake,
            direction,
            connection: event.connection,
            first,
        };
        Some(Detected {
            loss,
            consumed: true,
        })
    }

    /// A retransmitted SYN or SYN-ACK counts if the service speaks TLS, whether or not the
    /// connection reaches a handshake.
    fn during_set_up(
        &self,
        connection: &Connection,
        phase: Phase,
        direction: Direction,
    ) -> Option<Detected> {
        let role = match (phase, direction) {
            (Phase::Syn, Direction::Sent) | (Phase::SynAck, Direction::Received) => Role::Client,
            _ => Role::Server,
        };
        let loss = LateLoss {
            role,
            phase,
            direction,
            connection: *connection,
            first: false,
        };
        self.services
            .contains(&TlsService::from_connection(role, connection))
            .then_some(Detected {
                loss,
                consumed: false,
            })
    }
}
