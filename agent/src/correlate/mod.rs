//! The correlation engine: events in, observations out. Pure and clockless: time is what the events say, so that a
//! recorded stream gives the same observations as the live one.
//!
//! A handshake's end waits for [`SETTLE_NS`] of event time, since the TCP events that explain it travel in another ring;
//! then it is joined with what happened on its connection and leaves as one [`Observation`]. What the `hello` sensor saw is
//! joined to it by the client random; a handshake that no library tells of is observed from the wire alone.

mod cause;
mod history;
mod loss;
mod offer;
mod trouble;
mod wire;

use std::collections::VecDeque;

use reprise_ebpf::{
    handshake::{ForgetEvent, HIT_UNKNOWN, HandshakeEvent, outcome, role, socket_source},
    tcp::TcpEvent,
};

pub use self::{
    cause::Cause,
    loss::Loss,
    offer::{Mechanism, Offer},
    trouble::{Direction, Phase, Retransmits, Trouble},
};
use self::{
    history::{Histories, Mark, Span},
    loss::Losses,
    wire::{Settled, Wires},
};
use crate::{
    diagnose::{Evidence, Kept, Miss, Removal, ServiceFacts, ServiceId, Session, offered, taken},
    event::{Connection, Event},
    hello::{HelloEvent, end},
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

/// Which side the observed process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Accepting side.
    Server,
    /// Connecting side.
    Client,
}

/// Protocol version agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.0.
    V10,
    /// TLS 1.1.
    V11,
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
    /// DTLS, SSL 3.0, or not read.
    Other,
}

/// Whether a session was resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resumption {
    /// Full handshake.
    Full,
    /// Resumed.
    Resumed,
    /// Not read: where the library keeps it was not decoded. Never guessed, and left out of ratios.
    Unknown,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It completed.
    Completed(Resumption),
    /// It did not, for this cause.
    Failed(Cause),
}

/// One finished handshake, joined with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Side of the observed process.
    pub role: Role,
    /// Version agreed on.
    pub version: Version,
    /// How it ended.
    pub end: End,
    /// First drive to end, nanoseconds.
    pub duration_ns: u64,
    /// Time inside the library, nanoseconds.
    pub library_ns: u64,
    /// The connection, where it was found.
    pub connection: Option<Connection>,
    /// What speaks for loss, and what TCP did otherwise.
    pub trouble: Trouble,
    /// Library error reason, 0 for none.
    pub reason: u32,
    /// Process; 0 where it was seen on the wire alone.
    pub tgid: u32,
    /// What the client offered to resume.
    pub offer: Offer,
    /// What both sides said on the wire, where that was seen.
    pub hello: Option<HelloEvent>,
    /// Wire and library disagree whether a session was resumed.
    pub conflict: bool,
    /// Told by the wire alone: no library that is observed made it.
    pub wire: bool,
    /// Why the session offered was not resumed, where one was and was not.
    pub miss: Option<Miss>,
}

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
            Event::Exec(_) | Event::Workload(_) | Event::Tick(_) => {}
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

    /// What happened on the connection of a handshake, which takes it away.
    fn trouble(&mut self, role: Role, connection: Option<Connection>, span: &Span) -> Trouble {
        let trouble = self.histories.trouble(connection, span);
        if let Some(connection) = connection {
            self.histories.forget(&connection);
            let lossy = trouble.retransmits.any();
            self.losses
                .ended(role, &connection, span.end_ns, span.completed, lossy);
        }
        trouble
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

    /// Takes what was forgotten until `end_ns`.
    fn conclude_forgotten(&mut self, end_ns: u64) {
        while let Some(event) = self.forgotten.front()
            && event.header.time_ns <= end_ns
            && let Some(event) = self.forgotten.pop_front()
        {
            let (histories, losses) = (&self.histories, &self.losses);
            let met_loss = |connection: &Connection| {
                losses.met_loss(connection) || histories.met_loss(connection, event.header.time_ns)
            };
            if let Some(forgotten) = self.evidence.forget(&event, met_loss) {
                self.removed[forgotten.removal as usize] += 1;
                self.cut.extend(forgotten.cut);
            }
        }
    }

    fn conclude_oldest(&mut self, out: &mut impl FnMut(Observation)) {
        let Some(event) = self.waiting.pop_front() else {
            return;
        };
        self.conclude_forgotten(event.header.time_ns);
        let role = match event.role {
            role::SERVER => Role::Server,
            role::CLIENT => Role::Client,
            _ => {
                self.unknown_role += 1;
                return;
            }
        };
        let Ok(hello) = self.wires.claim(role, &event) else {
            return;
        };
        self.conclude(Ended { event, role, hello }, false, out);
    }

    /// `patient`: whether it has waited for as long as any handshake does.
    fn conclude(&mut self, ended: Ended, patient: bool, out: &mut impl FnMut(Observation)) {
        let Ended { event, role, hello } = ended;
        let mut connection = Connection::of_handshake(&event);
        // Sure, where the library's own way to its socket is a guess or leads nowhere.
        if let Some(hello) = &hello
            && event.socket_source != socket_source::IN_CALL
        {
            connection = Connection::of(&hello.socket).or(connection);
        }
        let completed = event.outcome == outcome::COMPLETED;
        let on_wire = hello.map(|hello| hello.end);
        let span = Span {
            begin_ns: event.begin_ns,
            end_ns: event.header.time_ns,
            completed,
            until_ns: event.header.time_ns.saturating_add(if patient {
                DOUBT_NS
            } else {
                SETTLE_NS
            }),
        };
        let rtt_us = hello.map_or(0, |hello| hello.rtt_us);
        let late = u32::from(hello.is_some_and(|hello| cause::came_late(&event, &hello)));
        if !patient && !completed && self.doubtful.len() < MAX_DOUBTFUL {
            let mut trouble = self.histories.trouble(connection, &span);
            trouble.rtt_us = rtt_us;
            trouble.stalls = trouble.stalls.max(late);
            if cause::of(&event, &trouble, on_wire) == Cause::Timeout {
                self.doubtful.push_back(ended);
                return;
            }
        }
        let mut trouble = self.trouble(role, connection, &span);
        trouble.rtt_us = rtt_us;
        trouble.stalls = trouble.stalls.max(late);
        let resumed = event.hit == 1;
        let end = if completed {
            End::Completed(match event.hit {
                0 => Resumption::Full,
                1 => Resumption::Resumed,
                _ => Resumption::Unknown,
            })
        } else {
            End::Failed(cause::of(&event, &trouble, on_wire))
        };
        let known = completed && event.hit != HIT_UNKNOWN;
        let on_wire = hello.and_then(|hello| hello.resumed());
        let session = Session::of(&event, hello.as_ref());
        let seen = Observation {
            time_ns: event.header.time_ns,
            role,
            version: Version::from_wire(event.version),
            end,
            duration_ns: event.header.time_ns.saturating_sub(event.begin_ns),
            library_ns: event.library_ns,
            connection,
            trouble,
            reason: event.reason,
            tgid: event.tgid,
            offer: hello.map_or(Offer::Unknown, |hello| self.offer(&hello)),
            hello,
            conflict: known && on_wire.is_some_and(|on_wire| on_wire != resumed),
            wire: false,
            miss: None,
        };
        out(self.diagnosed(seen, &session));
    }

    fn offer(&self, hello: &HelloEvent) -> Offer {
        Offer::of(hello, |id| self.evidence.gave(id))
    }

    fn diagnosed(&mut self, seen: Observation, session: &Session) -> Observation {
        let miss = self.evidence.take(&seen, session);
        Observation { miss, ..seen }
    }

    /// Observes handshakes that ended on the wire and that no library has told of since.
    fn conclude_wires(&mut self, now_ns: u64, out: &mut impl FnMut(Observation)) {
        while let Some(Settled(settled)) = self.wires.mature(now_ns) {
            let Some(hello) = settled else { continue };
            let Some(role) = wire::role_of(&hello) else {
                continue;
            };
            let connection = Connection::of(&hello.socket);
            let (begin_ns, end_ns) = (hello.begin_ns, hello.header.time_ns);
            let completed = hello.end == end::COMPLETED;
            let span = Span {
                begin_ns,
                end_ns,
                completed,
                until_ns: end_ns.saturating_add(DOUBT_NS),
            };
            let mut trouble = self.trouble(role, connection, &span);
            trouble.rtt_us = hello.rtt_us;
            let end = match (hello.end, hello.resumed()) {
                (end::COMPLETED, Some(resumed)) => End::Completed(Resumption::of(resumed)),
                // Not followed to the end: nobody can say how it went.
                (end::COMPLETED | end::UNKNOWN, _) => continue,
                _ => End::Failed(cause::of_wire(&hello, &trouble)),
            };
            let seen = Observation {
                time_ns: end_ns,
                role,
                version: Version::from_wire(u32::from(hello.version)),
                end,
                duration_ns: end_ns.saturating_sub(begin_ns),
                library_ns: 0,
                connection,
                trouble,
                reason: 0,
                tgid: 0,
                offer: self.offer(&hello),
                hello: Some(hello),
                conflict: false,
                wire: true,
                miss: None,
            };
            out(self.diagnosed(seen, &Session::default()));
        }
    }
}

impl Observation {
    /// Key of the ticket that the client offered, and whether it was accepted; `None` without a ticket. Of several PSKs the
    /// accepted one, or the first.
    #[must_use]
    pub fn ticket_key(&self) -> Option<(u32, bool)> {
        let (Offer::Session(mechanism), End::Completed(resumption)) = (self.offer, self.end) else {
            return None;
        };
        let hello = self.hello.as_ref()?;
        let accepted = resumption == Resumption::Resumed;
        let token = if accepted {
            taken(hello, mechanism)
        } else {
            offered(hello, mechanism)
        };
        (token.key != 0).then_some((token.key, accepted))
    }
}

impl Role {
    /// Every role, in the order of their index.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl Version {
    /// Every version, in the order of their index.
    pub const ALL: [Self; 5] = [Self::V10, Self::V11, Self::V12, Self::V13, Self::Other];

    /// From the wire's number (RFC 8446, section 4.1.2 and its predecessors).
    #[must_use]
    pub const fn from_wire(version: u32) -> Self {
        match version {
            0x0301 => Self::V10,
            0x0302 => Self::V11,
            0x0303 => Self::V12,
            0x0304 => Self::V13,
            _ => Self::Other,
        }
    }

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
            Self::V13 => "1.3",
            Self::Other => "other",
        }
    }
}

impl Resumption {
    /// All, in the order of their index.
    pub const ALL: [Self; 3] = [Self::Full, Self::Resumed, Self::Unknown];

    /// Whether a sum is shown: what is not known only where it happened.
    #[must_use]
    pub const fn shows(self, sum: u64) -> bool {
        !matches!(self, Self::Unknown) || sum > 0
    }

    /// Which of both.
    #[must_use]
    pub const fn of(resumed: bool) -> Self {
        if resumed { Self::Resumed } else { Self::Full }
    }

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
