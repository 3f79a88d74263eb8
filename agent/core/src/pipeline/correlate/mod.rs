//! The correlation engine: events in, observations out. Pure and clockless: time is what the events say, so that a
//! recorded stream gives the same observations as the live one.
//!
//! A handshake's end waits for [`SETTLE_NS`] of event time, since the TCP events that explain it travel in another ring;
//! then it is joined with what happened on its connection and leaves as one [`Observation`]. What the `hello` sensor saw is
//! joined to it by the client random; a handshake that no library tells of is observed from the wire alone.

mod cause;
mod conclude;
mod history;
mod loss;
mod observation;
mod offer;
mod trouble;
mod wire;

use std::collections::VecDeque;

use reprise_ebpf::{
    handshake::{ForgetEvent, HandshakeEvent},
    tcp::TcpEvent,
};

pub use self::{
    cause::Cause,
    loss::Loss,
    observation::{End, Fate, Observation, Resumption, Role, Version},
    offer::{Mechanism, Offer},
    trouble::{Direction, Phase, Retransmits, Trouble},
};
use self::{
    history::{Histories, Mark},
    loss::Losses,
    wire::Wires,
};
use crate::pipeline::{
    diagnose::{Evidence, Kept, Removal, ServiceFacts, ServiceId},
    event::{Connection, Event},
    wire::HelloEvent,
};

/// How long a handshake's end waits for TCP events that happened before it, nanoseconds.
pub const SETTLE_NS: u64 = 200_000_000;
/// How long a handshake that was given up after silence waits for a sign that its peer had spoken: what it sent last, and the FIN,
/// may have been lost, too. A little more than the first two times that TCP sends a FIN again.
const DOUBT_NS: u64 = 1_000_000_000;
/// Such handshakes at one time; others do without.
const MAX_DOUBTFUL: usize = 4_096;
/// Ends that may wait at one time; beyond it the oldest is concluded at once.
const MAX_WAITING: usize = 65_536;

/// What the engine keeps and what it had to forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Connections with TCP history.
    pub connections: usize,
    /// Histories dropped for room before a handshake claimed them.
    pub evicted_connections: u64,
    /// Handshakes waiting for their TCP events.
    pub waiting: usize,
    /// Handshakes of unknown role, which are counted nowhere else.
    pub unknown_role: u64,
    /// Handshakes seen on the wire that wait for their library.
    pub wires: usize,
    /// Those that did not wait to the end, for want of room.
    pub evicted_wires: u64,
    /// Evidence for miss reasons.
    pub evidence: Kept,
}

/// Sizes that bound the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections whose TCP history is remembered.
    pub connections: usize,
    /// Sessions and tickets remembered, of each kind.
    pub sessions: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    histories: Histories,
    losses: Losses,
    /// What [`Losses`] has found and nobody has fetched yet: emptied after each event.
    found: Vec<Loss>,
    /// Connections that loss had met when their unclean end took a session out of a cache: the like.
    cut: Vec<Connection>,
    waiting: VecDeque<HandshakeEvent>,
    doubtful: VecDeque<Ended>,
    /// Sessions that caches were told to forget: told of when the handshakes before them are concluded.
    forgotten: VecDeque<ForgetEvent>,
    wires: Wires,
    evidence: Evidence,
    /// Sessions taken out of caches before their time, by [`Removal`].
    removed: [u64; Removal::ALL.len()],
    now_ns: u64,
    unknown_role: u64,
}

/// A handshake that a library tells of, with what the wire shows of it.
#[derive(Debug, Clone, Copy)]
struct Ended {
    event: HandshakeEvent,
    role: Role,
    hello: Option<HelloEvent>,
}

impl Engine {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            histories: Histories::new(bounds.connections),
            losses: Losses::new(),
            found: Vec::new(),
            cut: Vec::new(),
            waiting: VecDeque::new(),
            doubtful: VecDeque::new(),
            forgotten: VecDeque::new(),
            wires: Wires::new(MAX_WAITING),
            evidence: Evidence::new(bounds.sessions),
            removed: Default::default(),
            now_ns: 0,
            unknown_role: 0,
        }
    }

    /// Takes one event; `out` gets every observation that it completes, oldest first.
    pub fn push(&mut self, event: &Event, out: &mut impl FnMut(Observation)) {
        self.now_ns = self.now_ns.max(event.time_ns());
        match event {
            Event::Handshake(handshake) => {
                if self.waiting.len() >= MAX_WAITING {
                    self.conclude_oldest(out);
                }
                self.waiting.push_back(*handshake);
            }
            Event::Tcp(tcp) => self.note(tcp),
            Event::Hello(hello) => {
                self.wires.record(hello);
            }
            Event::Forget(forgotten) => {
                if self.forgotten.len() >= MAX_WAITING {
                    self.conclude_forgotten(u64::MAX);
                }
                self.forgotten.push_back(*forgotten);
            }
            Event::Clock(clock) => self.evidence.set_clock(clock.offset_ns),
            Event::Exec(_)
            | Event::Exit(_)
            | Event::Alert(_)
            | Event::Workload(_)
            | Event::Tick(_) => {}
        }
        let settled_ns = self.now_ns.saturating_sub(SETTLE_NS);
        while let Some(oldest) = self.waiting.front()
            && oldest.header.time_ns.saturating_add(SETTLE_NS) <= self.now_ns
        {
            self.conclude_oldest(out);
        }
        while let Some(oldest) = self.doubtful.front()
            && oldest.event.header.time_ns.saturating_add(DOUBT_NS) <= self.now_ns
            && let Some(ended) = self.doubtful.pop_front()
        {
            self.conclude(ended, true, out);
        }
        self.conclude_forgotten(settled_ns);
        self.conclude_wires(self.now_ns, out);
    }

    /// Concludes everything that waits: the stream has ended.
    pub fn finish(&mut self, out: &mut impl FnMut(Observation)) {
        while !self.waiting.is_empty() {
            self.conclude_oldest(out);
        }
        while let Some(ended) = self.doubtful.pop_front() {
            self.conclude(ended, true, out);
        }
        self.conclude_forgotten(u64::MAX);
        self.conclude_wires(u64::MAX, out);
    }

    /// Loss to be counted beside the observations, found since this was last asked for.
    pub fn losses(&mut self) -> impl Iterator<Item = Loss> {
        self.found.drain(..)
    }

    /// Connections on which loss was met, and whose unclean end has taken a session out of a server's cache, since this was last
    /// asked for.
    pub fn cut(&mut self) -> impl Iterator<Item = Connection> {
        self.cut.drain(..)
    }

    /// What TCP did: for the history of its connection, unless the handshake there is over.
    fn note(&mut self, tcp: &TcpEvent) {
        let Some(connection) = Connection::of(&tcp.socket) else {
            return;
        };
        let (at_ns, mark) = (tcp.header.time_ns, Mark::of(tcp));
        let found = self.losses.mark(&connection, at_ns, mark);
        self.found.extend(found.map(|(loss, _)| loss));
        if !found.is_some_and(|(_, all)| all) {
            self.histories
                .record(connection, at_ns, mark, found.is_some());
        }
    }

    /// Sizes and losses of the bounded tables.
    #[must_use]
    pub fn tracked(&self) -> Tracked {
        Tracked {
            connections: self.histories.len(),
            evicted_connections: self.histories.evicted(),
            waiting: self.waiting.len() + self.doubtful.len(),
            unknown_role: self.unknown_role,
            wires: self.wires.len(),
            evicted_wires: self.wires.evicted(),
            evidence: self.evidence.kept(),
        }
    }

    /// Sessions taken out of caches before their time, by [`Removal`].
    #[must_use]
    pub const fn removed(&self) -> &[u64; Removal::ALL.len()] {
        &self.removed
    }

    /// What is known of a service.
    #[must_use]
    pub fn service(&self, service: ServiceId) -> ServiceFacts {
        self.evidence.service(service, self.now_ns)
    }
}

#[cfg(test)]
mod tests;
