//! Recent TCP events of each connection, until a handshake consumes them. Bounded: the least
//! recently used connection is evicted first.

use std::num::NonZeroUsize;

use enum_map::EnumMap;
use lru::LruCache;

use crate::model::{
    Connection, Direction, NetworkEvidence, Phase, Role, TcpEvent,
    TcpEventKind::{self, Retransmission},
    WireHandshake,
};

/// Events retained per connection; a connection with more loses its oldest.
const MAX_EVENTS: usize = 32;
/// Longest connection set-up that can belong to a handshake: Linux abandons a SYN after about two
/// minutes (`tcp_syn_retries` = 6).
const MAX_SETUP_NS: u64 = 130_000_000_000;
/// `TCP_TIMEOUT_INIT` (include/net/tcp.h, RFC 6298), nanoseconds: the timeout of a SYN and a
/// SYN-ACK before a round trip was measured.
const RTO_INIT_NS: u64 = 1_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Entry {
    at_ns: u64,
    kind: TcpEventKind,
    /// Whether it was already reported as a late loss.
    counted: bool,
}

/// Time span of a handshake, and what the wire shows of its timing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    pub(super) completed: bool,
    /// A gap in the stream until this time is evidence about data sent before the end.
    pub(super) until_ns: u64,
    /// Round-trip time, microseconds, where TCP has measured it.
    pub(super) rtt_us: Option<u32>,
    /// When the first handshake data of each direction passed.
    pub(super) first_data_ns: EnumMap<Direction, Option<u64>>,
}

impl Span {
    /// A span from the beginning to the end of a handshake.
    pub(super) fn new(begin_ns: u64, end_ns: u64) -> Self {
        Self {
            begin_ns,
            end_ns,
            until_ns: end_ns,
            ..Self::default()
        }
    }

    /// Adds the timing that the wire shows.
    pub(super) fn with_timing(mut self, wire: &WireHandshake) -> Self {
        self.rtt_us = wire.rtt_us;
        let (hello, answer) = match wire.role {
            Role::Client => (Direction::Sent, Direction::Received),
            Role::Server => (Direction::Received, Direction::Sent),
        };
        self.first_data_ns[hello] = Some(wire.hello.begin_ns);
        self.first_data_ns[answer] = wire.hello.answer_ns;
        self
    }
}

/// TCP events of one connection, oldest first.
#[derive(Debug, Default)]
struct ConnectionHistory(Vec<Entry>);

impl ConnectionHistory {
    /// Evidence about the connection's set-up and its handshake.
    fn evidence(&self, span: &Span) -> NetworkEvidence {
        let mut sum = NetworkEvidence {
            rtt_us: span.rtt_us,
            ..NetworkEvidence::default()
        };
        let mut first_ns: EnumMap<Phase, EnumMap<Direction, Option<u64>>> = EnumMap::default();
        for entry in &self.0 {
            let at_ns = entry.at_ns;
            let inside = (span.begin_ns..=span.end_ns).contains(&at_ns);
            let since_set_up = at_ns.saturating_add(MAX_SETUP_NS) >= span.begin_ns;
            let before_end = since_set_up && at_ns <= span.end_ns;
            let retransmission = match entry.kind {
                // The tracepoint reports retransmissions of any data.
                Retransmission(Phase::Handshake, Direction::Sent) => inside,
                // The packet programs report only those of the handshake, which may be over on this
                // side before the segment arrives.
                Retransmission(Phase::Handshake, Direction::Received) => {
                    since_set_up && (span.completed || at_ns <= span.end_ns)
                }
                TcpEventKind::LastFlightRetransmission => span.completed && at_ns > span.end_ns,
                Retransmission(..) => before_end,
                // Missing data was sent before.
                TcpEventKind::Missing => {
                    sum.missing += u32::from(since_set_up && at_ns <= span.until_ns);
                    false
                }
                TcpEventKind::Stall => {
                    sum.stalls += u32::from(inside);
                    false
                }
                TcpEventKind::LateFirstData => {
                    sum.stalls += u32::from(before_end);
                    false
                }
                TcpEventKind::ResetReceived => {
                    sum.resets_received += u32::from(inside);
                    false
                }
                TcpEventKind::ResetSent => {
                    sum.resets_sent += u32::from(inside);
                    false
                }
            };
            if !retransmission {
                continue;
            }
            let (phase, direction) = match entry.kind {
                Retransmission(phase, direction) => (phase, direction),
                _ => (Phase::Handshake, Direction::Sent),
            };
            sum.retransmits.add(phase, direction);
            let first_ns = *first_ns[phase][direction].get_or_insert(at_ns);
            sum.needless += u32::from(self.is_needless(span, (phase, direction), first_ns, at_ns));
            if entry.counted {
                sum.counted.add(phase, direction);
            }
        }
        sum
    }

    /// Whether the sender of a retransmission had waited for less than a round trip, so that no
    /// acknowledgement can have arrived: on a slow link TCP's first timeout is shorter than a round
    /// trip. `first_ns` is the first retransmission of this phase and direction.
    fn is_needless(
        &self,
        span: &Span,
        (phase, direction): (Phase, Direction),
        first_ns: u64,
        at_ns: u64,
    ) -> bool {
        let Some(rtt_us) = span.rtt_us else {
            return false;
        };
        let rtt_ns = u64::from(rtt_us) * 1000;
        let within = |since_ns: u64| at_ns.saturating_sub(since_ns) <= rtt_ns;
        match (phase, direction) {
            // A client whose first SYN or SYN-ACK is lost measures the time from the first SYN to
            // the answer. No packet was lost only if each SYN has its own answer, a round trip
            // later.
            (Phase::Syn, Direction::Sent) => {
                let due_ns = at_ns.saturating_add(rtt_ns);
                self.has_near(Phase::SynAck, Direction::Received, due_ns, rtt_ns)
            }
            (Phase::SynAck, Direction::Received) => {
                let asked_ns = at_ns.saturating_sub(rtt_ns);
                self.has_near(Phase::Syn, Direction::Sent, asked_ns, rtt_ns)
            }
            (Phase::Syn | Phase::SynAck, _) => within(first_ns.saturating_sub(RTO_INIT_NS)),
            (Phase::Handshake, _) => span.first_data_ns[direction].is_some_and(within),
        }
    }

    /// Whether a retransmission of this phase and direction occurred at about this time, by an
    /// eighth of the round trip.
    fn has_near(&self, phase: Phase, direction: Direction, at_ns: u64, rtt_ns: u64) -> bool {
        self.0.iter().any(|entry| {
            entry.kind == Retransmission(phase, direction)
                && entry.at_ns.abs_diff(at_ns) <= rtt_ns / 8
        })
    }
}

/// Histories of all connections.
#[derive(Debug)]
pub(super) struct ConnectionHistories {
    table: LruCache<Connection, ConnectionHistory>,
    evicted: u64,
}

impl ConnectionHistories {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            evicted: 0,
        }
    }

    /// Adds an event; `counted` if it was already reported as a late loss.
    pub(super) fn insert(&mut self, event: &TcpEvent, counted: bool) {
        if self.table.len() == self.table.cap().get() && !self.table.contains(&event.connection) {
            self.evicted += 1;
        }
        let history = self
            .table
            .get_or_insert_mut(event.connection, ConnectionHistory::default);
        if history.0.len() == MAX_EVENTS {
            history.0.remove(0);
        }
        history.0.push(Entry {
            at_ns: event.time_ns,
            kind: event.kind,
            counted,
        });
    }

    /// Evidence about a handshake on this connection.
    pub(super) fn evidence(&self, connection: Option<Connection>, span: &Span) -> NetworkEvidence {
        let history = connection.and_then(|connection| self.table.peek(&connection));
        match history {
            Some(history) => history.evidence(span),
            None => ConnectionHistory::default().evidence(span),
        }
    }

    /// Drops the events of a handshake that ended then. Later ones remain: they belong to what
    /// follows on the connection.
    pub(super) fn consume(&mut self, connection: &Connection, end_ns: u64) {
        let Some(history) = self.table.peek_mut(connection) else {
            return;
        };
        history.0.retain(|entry| {
            let later = matches!(
                entry.kind,
                Retransmission(Phase::Handshake, Direction::Sent) | TcpEventKind::ResetReceived
            );
            entry.at_ns > end_ns && later
        });
        if history.0.is_empty() {
            self.table.pop(connection);
        }
    }

    /// Whether the peer had reset this connection by then.
    pub(super) fn was_reset_by_peer(&self, connection: &Connection, until_ns: u64) -> bool {
        let history = self.table.peek(connection);
        history.is_some_and(|history| {
            let mut entries = history.0.iter();
            entries
                .any(|entry| entry.kind == TcpEventKind::ResetReceived && entry.at_ns <= until_ns)
        })
    }

    /// Whether this connection had packet loss until then, since its last handshake ended.
    pub(super) fn had_loss(&self, connection: &Connection, until_ns: u64) -> bool {
        let history = self.table.peek(connection);
        history.is_some_and(|history| {
            history.0.iter().any(|entry| {
                let reset = matches!(
                    entry.kind,
                    TcpEventKind::ResetReceived | TcpEventKind::ResetSent
                );
                !reset && entry.at_ns <= until_ns
            })
        })
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}
