//! The correlation engine: holds each ended handshake until the events of the other sensors have
//! arrived, for a bounded time.

use std::collections::VecDeque;

use enum_map::EnumMap;

use super::{
    connection_history::Span,
    finding::Finding,
    listeners::Listeners,
    network::Network,
    observation::{self, EndedHandshake},
    offer,
    server_verdicts::ServerVerdicts,
    undecided_misses::UndecidedMisses,
    unread_hellos::UnreadHellos,
    wire_handshakes::{Expired, WireHandshakes},
};
use crate::{
    model::{
        Connection, FailureCause, HelloFlags, LibraryHandshake, Observation, Offer, Outcome,
        Removal, Role, ServiceFacts, ServiceId, SessionRemoved, WireHandshake,
    },
    pipeline::{
        changes::Changes,
        diagnose::{CloseEvidence, Diagnoser, Retained, UndecidedMiss},
        event::Event,
        sizing::Services,
    },
};

/// Time for which an ended handshake waits for TCP events that happened before its end,
/// nanoseconds.
pub const SETTLE_NS: u64 = 200_000_000;
/// Time for which a handshake that timed out waits for evidence that its peer had answered,
/// nanoseconds: the peer's last data and its FIN may have been lost, too. A little longer than the
/// first two retransmissions of a FIN take.
pub(super) const TIMEOUT_CONFIRM_NS: u64 = 1_000_000_000;
/// Maximum number of timeouts that wait at one time; others are concluded without confirmation.
const MAX_PENDING_TIMEOUTS: usize = 4_096;
/// Maximum number of ended handshakes that wait at one time; beyond it the oldest is concluded at
/// once.
const MAX_WAITING: usize = 65_536;

/// Sizes of the engine's tables and their evictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Connections with TCP history.
    pub connections: usize,
    /// Histories evicted before a handshake consumed them.
    pub evicted_connections: u64,
    /// Handshakes waiting for their TCP events, or for the verdict of their server.
    pub waiting: usize,
    /// Handshakes of unknown role, which are counted nowhere else.
    pub unknown_role: u64,
    /// Handshakes seen on the wire that wait for their library.
    pub wires: usize,
    /// Those evicted before their wait was over.
    pub evicted_wires: u64,
    /// Ports with known owners of their listening sockets.
    pub listeners: usize,
    /// Ports that were evicted, and addresses beyond the limit of a port.
    pub evicted_listeners: u64,
    /// Evidence for miss reasons.
    pub evidence: Retained,
}

/// Sizes that bound the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections whose TCP history is retained.
    pub connections: usize,
    /// Sessions and tickets retained, of each kind.
    pub sessions: usize,
    /// Services whose cache is analysed.
    pub services: usize,
}

/// The correlation engine.
#[derive(Debug)]
pub struct Engine {
    network: Network,
    waiting: VecDeque<Box<LibraryHandshake>>,
    pending_timeouts: VecDeque<EndedHandshake>,
    /// Removed sessions, until the handshakes before them are concluded.
    removed_sessions: VecDeque<SessionRemoved>,
    wire_handshakes: WireHandshakes,
    listeners: Listeners,
    unread_hellos: UnreadHellos,
    diagnoser: Diagnoser,
    undecided: UndecidedMisses,
    server_verdicts: ServerVerdicts,
    removed: EnumMap<Removal, u64>,
    now_ns: u64,
    unknown_role: u64,
}

impl Engine {
    /// An engine without events.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            network: Network::new(bounds.connections),
            waiting: VecDeque::new(),
            pending_timeouts: VecDeque::new(),
            removed_sessions: VecDeque::new(),
            wire_handshakes: WireHandshakes::new(MAX_WAITING),
            listeners: Listeners::new(),
            unread_hellos: UnreadHellos::new(),
            diagnoser: Diagnoser::new(bounds.sessions, bounds.services),
            undecided: UndecidedMisses::new(),
            server_verdicts: ServerVerdicts::new(),
            removed: EnumMap::default(),
            now_ns: 0,
            unknown_role: 0,
        }
    }

    /// Adds one event; `out` receives every finding that it completes, handshakes oldest first.
    ///
    /// Only a tick advances the time. The events of one sensor are read in a block: an event of one
    /// sensor does not show that the earlier events of another one have been read.
    pub fn push(&mut self, event: Event, out: &mut impl FnMut(Finding)) {
        match event {
            Event::Library(handshake) => {
                if self.waiting.len() >= MAX_WAITING {
                    self.conclude_oldest(out);
                }
                self.waiting.push_back(handshake);
            }
            Event::Tcp(event) => {
                if let Some(loss) = self.network.insert(&event) {
                    out(Finding::Loss(loss));
                }
            }
            Event::Wire(handshake) if handshake.hello.has(HelloFlags::OFFER_READ) => {
                self.wire_handshakes.insert(handshake);
            }
            Event::Wire(handshake) => self.unread_hellos.insert(handshake),
            Event::SessionRemoved(removed) => {
                if self.removed_sessions.len() >= MAX_WAITING {
                    self.conclude_removed(u64::MAX, out);
                }
                self.removed_sessions.push_back(removed);
            }
            Event::Alert(alert) => out(Finding::Alert(alert)),
            Event::ProcessEnded {
                time_ns,
                tgid,
                by_exec,
            } => self.diagnoser.process_ended(tgid, time_ns, by_exec),
            Event::ListenerChanged(change) => self.listeners.change(&change),
            Event::ListenerOwner(owner) => self.listeners.set_owner(&owner),
            Event::WallClock { offset_ns, .. } => self.diagnoser.set_clock(offset_ns),
            Event::Tick(time_ns) => {
                self.now_ns = self.now_ns.max(time_ns);
                self.conclude_due(out);
            }
            Event::Ignored => {}
        }
    }

    /// Concludes everything whose wait is over.
    fn conclude_due(&mut self, out: &mut impl FnMut(Finding)) {
        while let Some(oldest) = self.waiting.front()
            && oldest.end_ns.saturating_add(SETTLE_NS) <= self.now_ns
        {
            self.conclude_oldest(out);
        }
        while let Some(oldest) = self.pending_timeouts.front()
            && oldest.library.end_ns.saturating_add(TIMEOUT_CONFIRM_NS) <= self.now_ns
            && let Some(ended) = self.pending_timeouts.pop_front()
        {
            self.conclude(&ended, TIMEOUT_CONFIRM_NS, out);
        }
        self.conclude_removed(self.now_ns.saturating_sub(SETTLE_NS), out);
        self.conclude_undecided(self.now_ns, out);
        self.conclude_wire(self.now_ns, out);
        self.conclude_clients(self.now_ns, out);
    }

    /// Concludes everything that waits: the stream has ended.
    pub fn finish(&mut self, out: &mut impl FnMut(Finding)) {
        while !self.waiting.is_empty() {
            self.conclude_oldest(out);
        }
        while let Some(ended) = self.pending_timeouts.pop_front() {
            self.conclude(&ended, TIMEOUT_CONFIRM_NS, out);
        }
        self.conclude_removed(u64::MAX, out);
        self.conclude_undecided(u64::MAX, out);
        self.conclude_wire(u64::MAX, out);
        self.conclude_clients(u64::MAX, out);
    }

    /// Concludes the sessions that were removed until `end_ns`.
    fn conclude_removed(&mut self, end_ns: u64, out: &mut impl FnMut(Finding)) {
        while let Some(removed) = self.removed_sessions.front()
            && removed.time_ns <= end_ns
            && let Some(removed) = self.removed_sessions.pop_front()
        {
            let network = &self.network;
            let close = |connection: &Connection| CloseEvidence {
                reset_by_peer: network.was_reset_by_peer(connection, removed.time_ns),
                loss: network.had_loss(connection, removed.time_ns),
            };
            if let Some(session) = self.diagnoser.session_removed(&removed, close) {
                self.removed[session.removal] += 1;
                if let Some(connection) = session.cut {
                    out(Finding::SessionCut(connection));
                }
            }
        }
    }

    /// Concludes the library's handshake that has waited longest, unless it is a timeout that needs
    /// confirmation.
    fn conclude_oldest(&mut self, out: &mut impl FnMut(Finding)) {
        let Some(library) = self.waiting.pop_front() else {
            return;
        };
        self.conclude_removed(library.end_ns, out);
        let Some(role) = library.role else {
            self.unknown_role += 1;
            return;
        };
        let Ok(wire) = self.wire_handshakes.match_library(role, &library) else {
            return;
        };
        let is_unknown = library.connection.is_none() && library.client_random.is_none();
        let wire = match wire {
            None if role == Role::Server && is_unknown => self.unread_hellos.take(&library),
            wire => wire,
        };
        let ended = EndedHandshake {
            library,
            role,
            wire,
        };
        if let (Role::Server, Some(connection)) = (role, ended.connection()) {
            self.unread_hellos.serves(ended.library.tgid, &connection);
        }
        if self.needs_confirmation(&ended) {
            self.pending_timeouts.push_back(ended);
        } else {
            self.conclude(&ended, SETTLE_NS, out);
        }
    }

    /// Whether a handshake is a timeout that may turn out to be packet loss.
    fn needs_confirmation(&self, ended: &EndedHandshake) -> bool {
        if ended.completed() || self.pending_timeouts.len() >= MAX_PENDING_TIMEOUTS {
            return false;
        }
        let span = span(ended, SETTLE_NS);
        let mut network = self.network.peek(ended.connection(), &span);
        ended.complete_evidence(&mut network);
        ended.outcome(&network) == Outcome::Failed(FailureCause::Timeout)
    }

    /// Concludes a library's handshake, `waited_ns` after its end.
    fn conclude(&mut self, ended: &EndedHandshake, waited_ns: u64, out: &mut impl FnMut(Finding)) {
        let span = span(ended, waited_ns);
        let mut network = self.network.conclude(ended.role, ended.connection(), &span);
        ended.complete_evidence(&mut network);
        let offer = self.offer(ended.hello_read());
        let observation = ended.observation(network, offer);
        self.diagnose(observation, out);
    }

    /// Concludes the handshakes that ended on the wire and that no library has reported since.
    fn conclude_wire(&mut self, now_ns: u64, out: &mut impl FnMut(Finding)) {
        while let Some(Expired(expired)) = self.wire_handshakes.expire(now_ns) {
            let Some(handshake) = expired else { continue };
            let end_ns = handshake.hello.end_ns;
            let span = Span {
                completed: handshake.is_completed(),
                until_ns: end_ns.saturating_add(TIMEOUT_CONFIRM_NS),
                ..Span::new(handshake.hello.begin_ns, end_ns).with_timing(&handshake)
            };
            let connection = handshake.connection;
            let network = self.network.conclude(handshake.role, connection, &span);
            let offer = self.offer(Some(&handshake));
            if let Some(mut observation) = observation::from_wire(&handshake, network, offer) {
                observation.tgid = self.listening_process(&handshake);
                self.diagnose(observation, out);
            }
        }
    }

    /// The process that alone accepted the connections of a server when this handshake began.
    fn listening_process(&mut self, handshake: &WireHandshake) -> Option<u32> {
        let connection = handshake.connection?;
        let end = connection.end(connection.local);
        match handshake.role {
            Role::Server => self.listeners.owner(&end, handshake.hello.begin_ns),
            Role::Client => None,
        }
    }

    fn offer(&self, wire: Option<&WireHandshake>) -> Offer {
        wire.map_or(Offer::Unknown, |wire| {
            offer::from_hello(&wire.hello, |id| self.diagnoser.was_issued_here(id))
        })
    }

    /// Diagnoses a handshake. A server's miss without a reason waits for evidence.
    fn diagnose(&mut self, mut observation: Observation, out: &mut impl FnMut(Finding)) {
        let Some(undecided) = self.diagnoser.diagnose(&mut observation) else {
            return self.join_verdict(observation, out);
        };
        if let Some(oldest) = self.undecided.insert(observation, undecided) {
            self.reconsider(oldest, out);
        }
    }

    /// Concludes the misses that have waited for evidence until `now_ns`.
    fn conclude_undecided(&mut self, now_ns: u64, out: &mut impl FnMut(Finding)) {
        while let Some(miss) = self.undecided.expire(now_ns) {
            self.reconsider(miss, out);
        }
    }

    fn reconsider(
        &mut self,
        (mut observation, undecided): (Observation, UndecidedMiss),
        out: &mut impl FnMut(Finding),
    ) {
        self.diagnoser.reconsider(&mut observation, &undecided);
        self.join_verdict(observation, out);
    }

    /// Adds a diagnosed handshake. A client's miss whose server is on this host waits for the
    /// server's verdict.
    fn join_verdict(&mut self, observation: Observation, out: &mut impl FnMut(Finding)) {
        let wire = &self.wire_handshakes;
        let mut out = |observation| out(Finding::Handshake(observation));
        self.server_verdicts.join(observation, wire, &mut out);
    }

    /// Concludes the clients' misses that have waited for a verdict until `now_ns`.
    fn conclude_clients(&mut self, now_ns: u64, out: &mut impl FnMut(Finding)) {
        while let Some(observation) = self.server_verdicts.expire(now_ns) {
            out(Finding::Handshake(observation));
        }
    }

    /// Sizes of the bounded tables and their evictions.
    #[must_use]
    pub fn tracked(&self) -> Tracked {
        Tracked {
            connections: self.network.len(),
            evicted_connections: self.network.evicted(),
            waiting: self.waiting.len()
                + self.pending_timeouts.len()
                + self.undecided.len()
                + self.server_verdicts.len(),
            unknown_role: self.unknown_role,
            wires: self.wire_handshakes.len(),
            evicted_wires: self.wire_handshakes.evicted(),
            listeners: self.listeners.len(),
            evicted_listeners: self.listeners.evicted(),
            evidence: self.diagnoser.retained(),
        }
    }

    /// Sessions removed from caches before their lifetime ended.
    #[must_use]
    pub const fn removed(&self) -> &EnumMap<Removal, u64> {
        &self.removed
    }

    /// Whether a service has not been merged into another one.
    #[must_use]
    pub fn is_whole(&self, service: ServiceId) -> bool {
        self.diagnoser.is_whole(service)
    }

    /// Changes of services and of the host.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        self.diagnoser.changes()
    }

    /// Mutable changes, to add those of the host.
    pub const fn changes_mut(&mut self) -> &mut Changes {
        self.diagnoser.changes_mut()
    }

    /// Analyses of the services' session caches.
    #[must_use]
    pub const fn sizing(&self) -> &Services {
        self.diagnoser.sizing()
    }

    /// Mutable analyses, to add handshakes.
    pub const fn sizing_mut(&mut self) -> &mut Services {
        self.diagnoser.sizing_mut()
    }

    /// Facts about a service.
    #[must_use]
    pub fn service(&self, service: ServiceId) -> ServiceFacts {
        self.diagnoser.service(service, self.now_ns)
    }
}

fn span(ended: &EndedHandshake, waited_ns: u64) -> Span {
    let (begin_ns, end_ns) = (ended.library.begin_ns, ended.library.end_ns);
    // A connection may have ended before its program accepted it.
    let begin_ns = match &ended.wire {
        Some(wire) if ended.hello_read().is_none() => begin_ns.min(wire.hello.begin_ns),
        _ => begin_ns,
    };
    let span = Span {
        completed: ended.completed(),
        until_ns: end_ns.saturating_add(waited_ns),
        ..Span::new(begin_ns, end_ns)
    };
    match &ended.wire {
        Some(wire) => span.with_timing(wire),
        None => span,
    }
}
