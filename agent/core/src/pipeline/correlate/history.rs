//! What TCP did on each connection lately, until a handshake claims it. Bounded: the least recently touched goes first.

use std::num::NonZeroUsize;

use lru::LruCache;
use reprise_ebpf::tcp::{self, TcpEvent};

use super::trouble::{Direction, Phase, Trouble};
use crate::pipeline::event::Connection;

/// Things remembered of one connection; a connection that meets more forgets its oldest.
const MAX_MARKS: usize = 32;
/// Set-up that can belong to a handshake: Linux gives up a SYN after about two minutes (`tcp_syn_retries` = 6).
const MAX_SETUP_NS: u64 = 130_000_000_000;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A segment was sent again; whether of the handshake, its time tells.
    Again(Phase, Direction),
    /// What was sent before both sides had finished was sent again afterwards.
    LastFlight,
    /// What was sent before has not arrived: the peer's, by what follows it; or this host's, by the peer's own word.
    Missing,
    Stall,
    /// The connection's first data, of a listener.
    Late,
    ResetReceived,
    ResetSent,
}

impl Mark {
    pub(super) const fn of(event: &TcpEvent) -> Self {
        use Direction::{Received, Sent};
        match event.header.kind {
            tcp::RETRANSMIT if event.state == tcp::STATE_SYN_SENT => Self::Again(Phase::Syn, Sent),
            tcp::RETRANSMIT => Self::Again(Phase::Handshake, Sent),
            tcp::RETRANSMIT_SYNACK => Self::Again(Phase::SynAck, Sent),
            tcp::SYN_AGAIN => Self::Again(Phase::Syn, Received),
            tcp::SYNACK_AGAIN => Self::Again(Phase::SynAck, Received),
            tcp::DATA_AGAIN => Self::Again(Phase::Handshake, Received),
            tcp::FLIGHT_AGAIN => Self::LastFlight,
            tcp::MISSING | tcp::UNHEARD => Self::Missing,
            tcp::LATE => Self::Late,
            tcp::STALL => Self::Stall,
            tcp::RESET_RECEIVED => Self::ResetReceived,
            _ => Self::ResetSent,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at_ns: u64,
    mark: Mark,
    /// It is in the sums already.
    counted: bool,
}

/// When a handshake ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    pub(super) completed: bool,
    /// Until when a gap tells of what was sent before its end.
    pub(super) until_ns: u64,
}

/// What happened on one connection.
#[derive(Debug, Default)]
pub(super) struct History(Vec<Entry>);

impl History {
    /// What speaks of the connection's set-up and of its handshake.
    fn trouble(&self, span: &Span) -> Trouble {
        let Span {
            begin_ns,
            end_ns,
            completed,
            until_ns,
        } = *span;
        let mut sum = Trouble::default();
        for entry in &self.0 {
            let Entry { at_ns, .. } = *entry;
            let inside = (begin_ns..=end_ns).contains(&at_ns);
            let since_set_up = at_ns.saturating_add(MAX_SETUP_NS) >= begin_ns;
            let again = match entry.mark {
                // The tracepoint tells of any data, a handshake's or not.
                Mark::Again(Phase::Handshake, Direction::Sent) => inside,
                // The wire tells of those alone that belong to the handshake, which may be over here before it is there.
                Mark::Again(Phase::Handshake, Direction::Received) => {
                    since_set_up && (completed || at_ns <= end_ns)
                }
                Mark::LastFlight => completed && at_ns > end_ns,
                Mark::Again(..) => since_set_up && at_ns <= end_ns,
                // What is missing was sent before.
                Mark::Missing => {
                    let seen = since_set_up && at_ns <= until_ns;
                    sum.missing += u32::from(seen);
                    false
                }
                Mark::Stall => {
                    sum.stalls += u32::from(inside);
                    false
                }
                Mark::Late => {
                    sum.stalls += u32::from(since_set_up && at_ns <= end_ns);
                    false
                }
                Mark::ResetReceived => {
                    sum.resets_received += u32::from(inside);
                    false
                }
                Mark::ResetSent => {
                    sum.resets_sent += u32::from(inside);
                    false
                }
            };
            if !again {
                continue;
            }
            let (phase, direction) = match entry.mark {
                Mark::Again(phase, direction) => (phase, direction),
                _ => (Phase::Handshake, Direction::Sent),
            };
            sum.retransmits.add(phase, direction);
            if entry.counted {
                sum.counted.add(phase, direction);
            }
        }
        sum
    }
}

/// Histories by connection.
#[derive(Debug)]
pub(super) struct Histories {
    table: LruCache<Connection, History>,
    evicted: u64,
}

impl Histories {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            evicted: 0,
        }
    }

    pub(super) fn record(&mut self, connection: Connection, at_ns: u64, mark: Mark, counted: bool) {
        let history = match self.table.get_mut(&connection) {
            Some(history) => history,
            None => {
                if self.table.len() == self.table.cap().get() {
                    self.evicted += 1;
                }
                self.table.get_or_insert_mut(connection, History::default)
            }
        };
        if history.0.len() == MAX_MARKS {
            history.0.remove(0);
        }
        history.0.push(Entry {
            at_ns,
            mark,
            counted,
        });
    }

    /// What speaks of a handshake on this connection.
    pub(super) fn trouble(&self, connection: Option<Connection>, span: &Span) -> Trouble {
        let history = connection.and_then(|connection| self.table.peek(&connection));
        history.map_or_else(Trouble::default, |history| history.trouble(span))
    }

    /// Drops what speaks of a handshake that ended then; what TCP did later stays, for what becomes of the connection.
    pub(super) fn claim(&mut self, connection: &Connection, end_ns: u64) {
        let Some(history) = self.table.peek_mut(connection) else {
            return;
        };
        history.0.retain(|entry| {
            entry.at_ns > end_ns && entry.mark == Mark::Again(Phase::Handshake, Direction::Sent)
        });
        if history.0.is_empty() {
            self.table.pop(connection);
        }
    }

    /// Whether this connection has met loss until then, since its last handshake ended.
    pub(super) fn met_loss(&self, connection: &Connection, until_ns: u64) -> bool {
        let history = self.table.peek(connection);
        history.is_some_and(|history| {
            history.0.iter().any(|entry| {
                let reset = matches!(entry.mark, Mark::ResetReceived | Mark::ResetSent);
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
