//! Sums over observations: what `/metrics`, `watch` and the API show. Pure; bounded by [`Limits`].

mod histogram;
mod history;
mod peers;
mod window;

pub use self::{
    histogram::{BOUNDS, Histogram},
    history::{History, SLOT_NS},
    peers::{PeerKey, PeerStats, PeerTable},
    window::Window,
};
use crate::{
    correlate::{Cause, End, Mechanism, Observation, Offer, Resumption, Role, Version},
    peers::Naming,
};

/// Sizes that bound memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Peers shown by name, over both roles; the others are summed as `other`.
    pub max_peers: usize,
    /// Length of the window behind ratios, nanoseconds.
    pub window_ns: u64,
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
            not_offered: Default::default(),
            conflicts: 0,
            wire: 0,
            history: Default::default(),
            peers: PeerTable::new(limits),
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
                self.peers.completed(peer, resumption, seen.time_ns);
                match seen.offer {
                    Offer::Unknown => {}
                    Offer::Nothing => self.not_offered[role] += 1,
                    Offer::Session(mechanism) => {
                        let missed = usize::from(resumption == Resumption::Full);
                        self.offers[role][mechanism as usize][missed] += 1;
                    }
                }
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
}
