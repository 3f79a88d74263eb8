//! Accepted connections that ended before their ClientHello was complete, for the handshakes of
//! programs with memory BIOs: their library knows neither the socket nor a client random then.
//!
//! Such a handshake is matched by the port that its process serves and by time: a program begins a
//! handshake right after it has accepted the connection, or received data or its end. Bounded: the
//! oldest connection is evicted first.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use crate::model::{Connection, LibraryHandshake, NetworkNamespace, Role, WireHandshake};

/// Connections remembered.
const MAX_CONNECTIONS: usize = 2_048;
/// Server processes whose ports are remembered.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Ports remembered per process.
const MAX_PORTS: usize = 8;
/// Maximum time from accepting a connection, or from receiving, until the program begins the
/// handshake, nanoseconds.
const MAX_DELAY_NS: u64 = 100_000_000;

/// Connections without a ClientHello that was read.
#[derive(Debug)]
pub(super) struct UnreadHellos {
    /// Oldest end first.
    connections: VecDeque<Arc<WireHandshake>>,
    ports: LruCache<u32, Vec<(NetworkNamespace, u16)>>,
}

impl UnreadHellos {
    pub(super) fn new() -> Self {
        Self {
            connections: VecDeque::new(),
            ports: LruCache::new(MAX_PROCESSES),
        }
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, connection: Arc<WireHandshake>) {
        if connection.role != Role::Server || connection.connection.is_none() {
            return;
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.connections.pop_front();
        }
        self.connections.push_back(connection);
    }

    /// Adds the port of a connection that a process serves.
    pub(super) fn serves(&mut self, tgid: u32, connection: &Connection) {
        let port = port(connection);
        let ports = self.ports.get_or_insert_mut(tgid, Vec::new);
        if !ports.contains(&port) && ports.len() < MAX_PORTS {
            ports.push(port);
        }
    }

    /// Removes and returns the connection of a server's handshake whose library knows neither its
    /// socket nor a client random.
    pub(super) fn take(&mut self, library: &LibraryHandshake) -> Option<Arc<WireHandshake>> {
        let ports = self.ports.get(&library.tgid)?;
        let mut nearest: Option<(usize, u64)> = None;
        for (index, wire) in self.connections.iter().enumerate() {
            let served = wire
                .connection
                .is_some_and(|connection| ports.contains(&port(&connection)));
            if !served || wire.hello.end_ns > library.end_ns {
                continue;
            }
            if let Some(delay_ns) = delay_ns(wire, library.begin_ns)
                && nearest.is_none_or(|(_, shortest_ns)| delay_ns < shortest_ns)
            {
                nearest = Some((index, delay_ns));
            }
        }
        self.connections.remove(nearest?.0)
    }
}

const fn port(connection: &Connection) -> (NetworkNamespace, u16) {
    (connection.namespace, connection.local.port())
}

/// Time from what made a program begin the handshake to its beginning; `None` where this is not the
/// handshake's connection.
fn delay_ns(wire: &WireHandshake, begin_ns: u64) -> Option<u64> {
    let (opened_ns, end_ns) = (wire.hello.begin_ns, wire.hello.end_ns);
    let data_ns = end_ns.saturating_sub(wire.silence_ns);
    [opened_ns, data_ns, end_ns]
        .into_iter()
        .filter_map(|cause_ns| begin_ns.checked_sub(cause_ns))
        .min()
        .filter(|delay_ns| *delay_ns <= MAX_DELAY_NS)
}
