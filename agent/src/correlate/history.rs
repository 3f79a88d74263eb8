//! What TCP did on each connection lately, until a handshake claims it. Bounded: the least recently touched goes first.

use std::num::NonZeroUsize;

use lru::LruCache;
use reprise_ebpf::tcp::{self, TcpEvent};

use crate::event::Connection;

/// Things remembered of one connection; a connection that meets more forgets its oldest.
const MAX_MARKS: usize = 32;
/// Set-up that can belong to a handshake: Linux gives up a SYN after about two minutes (`tcp_syn_retries` = 6).
const MAX_SETUP_NS: u64 = 130_000_000_000;

/// Retransmissions sent by this host that fell into a connection's set-up or handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retransmits {
    /// SYN.
    pub syn: u32,
    /// SYN-ACK.
    pub synack: u32,
    /// Data while the handshake was open.
    pub handshake: u32,
}

impl Retransmits {
    /// Whether there was any.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.syn + self.synack + self.handshake > 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Syn,
    SynAck,
    Data,
    ResetReceived,
    ResetSent,
}

/// What happened on one connection.
#[derive(Debug, Default)]
pub(super) struct History {
    marks: Vec<(u64, Mark)>,
}

impl History {
    /// Retransmissions of the connection's set-up and of its handshake, which ran from `begin_ns` to `end_ns`.
    pub(super) fn retransmits(&self, begin_ns: u64, end_ns: u64) -> Retransmits {
        let mut sum = Retransmits::default();
        for (at, mark) in &self.marks {
            let set_up = *at <= end_ns && at.saturating_add(MAX_SETUP_NS) >= begin_ns;
            match mark {
                Mark::Syn if set_up => sum.syn += 1,
                Mark::SynAck if set_up => sum.synack += 1,
                Mark::Data if (begin_ns..=end_ns).contains(at) => sum.handshake += 1,
                _ => {}
            }
        }
        sum
    }

    /// Whether a reset arrived from `begin_ns` to `end_ns`.
    pub(super) fn reset_received(&self, begin_ns: u64, end_ns: u64) -> bool {
        self.has(Mark::ResetReceived, begin_ns, end_ns)
    }

    /// Whether this host sent a reset from `begin_ns` to `end_ns`.
    pub(super) fn reset_sent(&self, begin_ns: u64, end_ns: u64) -> bool {
        self.has(Mark::ResetSent, begin_ns, end_ns)
    }

    fn has(&self, wanted: Mark, begin_ns: u64, end_ns: u64) -> bool {
        self.marks
            .iter()
            .any(|(at, mark)| *mark == wanted && (begin_ns..=end_ns).contains(at))
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

    pub(super) fn record(&mut self, event: &TcpEvent) {
        let mark = match event.header.kind {
            tcp::RETRANSMIT if event.state == tcp::STATE_SYN_SENT => Mark::Syn,
            tcp::RETRANSMIT => Mark::Data,
            tcp::RETRANSMIT_SYNACK => Mark::SynAck,
            tcp::RESET_RECEIVED => Mark::ResetReceived,
            _ => Mark::ResetSent,
        };
        let Some(connection) = Connection::of(&event.socket) else {
            return;
        };
        let history = match self.table.get_mut(&connection) {
            Some(history) => history,
            None => {
                if self.table.len() == self.table.cap().get() {
                    self.evicted += 1;
                }
                self.table.get_or_insert_mut(connection, History::default)
            }
        };
        if history.marks.len() == MAX_MARKS {
            history.marks.remove(0);
        }
        history.marks.push((event.header.time_ns, mark));
    }

    pub(super) fn take(&mut self, connection: &Connection) -> Option<History> {
        self.table.pop(connection)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}
