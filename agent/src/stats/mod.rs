//! Sums over observations: what `/metrics`, `watch` and the API show. Pure; bounded by [`Limits`].

mod alert;
mod histogram;
mod history;
mod keys;
mod offers;
mod peers;
mod window;

pub use self::{
    alert::{Thresholds, Topic},
    histogram::{BOUNDS, Histogram},
    history::{History, SLOT_NS},
    keys::TicketKeys,
    offers::{Offers, Recent},
    peers::{Change, PeerKey, PeerStats, PeerTable},
    window::Window,
};
use crate::{
    correlate::{Cause, End, Mechanism, Observation, Offer, Resumption, Role, Version},
    diagnose::Reason,
    peers::Naming,
};

/// Sizes that bound memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Peers shown by name, over both roles; the others are summed as `other`.
    pub max_peers: usize,
    /// Length of the window behind ratios, nanoseconds.
    pub window_ns: u64,
    /// When misses are an alert.
    pub thresholds: Thresholds,
}

/// One sum per role and per something.
pub type ByRole<T> = [T; Role::ALL.len()];

/// Everything that is counted from observations. Written by the pipeline, read at scrape time.
#[derive(Debug)]
pub struct Stats {
    /// Completed handshakes by role, version, resumption.
    pub handshakes: ByRole<[[u64; Resumption::ALL.len()]; Version::ALL.len()]>,
    /// Failed handshakes by role and cause.
    pub failures: ByRole<[u64; Cause::ALL.len()]>,
    /// First drive to completion, by role and resumption.
    pub duration: ByRole<[Histogram; Resumption::ALL.len()]>,
    /// Time inside the library of completed handshakes, nanoseconds, by role and resumption.
    pub library_ns: ByRole<[u64; Resumption::ALL.len()]>,
    /// Retransmissions sent, by role: SYN, SYN-ACK, handshake.
    pub retransmits: ByRole<[u64; 3]>,
    /// Handshakes that met at least one retransmission, by role: completed, failed.
    pub with_loss: ByRole<[u64; 2]>,
    /// Completed handshakes whose ClientHello offered a session, by role and mechanism: accepted, missed.
    pub offers: ByRole<[[u64; 2]; Mechanism::ALL.len()]>,
    /// Missed offers by role, mechanism and reason.
    pub misses: ByRole<[[u64; Reason::ALL.len()]; Mechanism::ALL.len()]>,
    /// Tickets offered to servers here, by key.
    pub ticket_keys: TicketKeys,
    /// Completed handshakes whose ClientHello offered none, by role.
    pub not_offered: ByRole<u64>,
    /// Handshakes of which wire and library say different things.
    pub conflicts: u64,
    /// Handshakes told by the wire alone.
    pub wire: u64,
    /// The last hour, by role.
    pub history: ByRole<History>,
    /// Per peer.
    pub peers: PeerTable,
    window_ns: u64,
}

impl Stats {
    /// Empty sums.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            handshakes: Default::default(),
            failures: Default::default(),
            duration: Default::default(),
            library_ns: Default::default(),
            retransmits: Default::default(),
            with_loss: Default::default(),
            offers: Default::default(),
            misses: Default::default(),
            ticket_keys: TicketKeys::new(),
            not_offered: Default::default(),
            conflicts: 0,
            wire: 0,
            history: Default::default(),
            peers: PeerTable::new(limits),
            window_ns: limits.window_ns,
        }
    }

    /// Adds one observation.
    pub fn observe(&mut self, seen: &Observation, naming: &Naming) {
        let role = seen.role as usize;
        let peer = PeerKey {
            role: seen.role,
            peer: naming.name(
                seen.role,
                seen.connection.map(|connection| connection.remote),
            ),
        };
        self.history[role].add(seen.end, seen.time_ns);
        match seen.end {
            End::Completed(resumption) => {
                self.handshakes[role][seen.version as usize][resumption as usize] += 1;
                self.duration[role][resumption as usize].observe(seen.duration_ns);
                self.library_ns[role][resumption as usize] += seen.library_ns;
                let sums = self.peers.completed(peer, resumption, seen.time_ns);
                sums.offers.add(seen, self.window_ns);
                self.offer(seen, resumption);
            }
            End::Failed(cause) => {
                self.failures[role][cause as usize] += 1;
                self.peers.failed(peer, cause);
            }
        }
        self.conflicts += u64::from(seen.conflict);
        self.wire += u64::from(seen.wire);
        let sent = seen.retransmits;
        for (sum, add) in
            self.retransmits[role]
                .iter_mut()
                .zip([sent.syn, sent.synack, sent.handshake])
        {
            *sum += u64::from(add);
        }
        if sent.any() {
            let failed = usize::from(matches!(seen.end, End::Failed(_)));
            self.with_loss[role][failed] += 1;
        }
    }
    fn offer(&mut self, seen: &Observation, resumption: Resumption) {
        let role = seen.role as usize;
        match (seen.offer, resumption) {
            (Offer::Unknown, _) | (Offer::Session(_), Resumption::Unknown) => {}
            (Offer::Nothing, _) => self.not_offered[role] += 1,
            (Offer::Session(mechanism), _) => {
                let missed = resumption == Resumption::Full;
                self.offers[role][mechanism as usize][usize::from(missed)] += 1;
                if missed {
                    let reason = seen.miss.map_or(Reason::Unknown, |miss| miss.reason);
                    self.misses[role][mechanism as usize][reason as usize] += 1;
                }
            }
        }
        if seen.role == Role::Server
            && let Some((key, accepted)) = seen.ticket_key()
        {
            self.ticket_keys.add(key, accepted);
        }
    }
}
