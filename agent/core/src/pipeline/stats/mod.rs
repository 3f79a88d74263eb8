//! Sums over observations: what `/metrics`, `watch` and the API show. Pure; bounded by [`Limits`].

mod alert;
mod errors;
mod failures;
mod histogram;
mod history;
mod keys;
mod offers;
mod peers;
mod window;
mod workloads;

pub use self::{
    alert::{Thresholds, Topic},
    errors::Errors,
    failures::{Failure, Failures},
    histogram::{BOUNDS, Histogram},
    history::{History, SLOT_NS},
    keys::TicketKeys,
    offers::{Offers, Recent},
    peers::{Change, PeerKey, PeerStats, PeerTable, SessionsLost},
    window::Window,
    workloads::{WorkloadKey, WorkloadSums, Workloads},
};
use crate::model::{
    Connection, Direction, FailureCause as Cause, Mechanism, MissReason as Reason, Observation,
    Offer, OfferOutcome, Outcome, Phase, Resumption, Role, Source, Version,
};
use crate::pipeline::{correlate::LateLoss, peers::Naming};

/// Sizes that bound memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Peers shown by name, over both roles; the others are summed as `other`.
    pub max_peers: usize,
    /// Workloads and ports shown by name; the others are summed as `other`.
    pub max_workloads: usize,
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
    /// Retransmissions by role, phase and direction.
    pub retransmits: ByRole<[[u64; Direction::ALL.len()]; Phase::ALL.len()]>,
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
    /// Library error reasons of failed handshakes.
    pub errors: Errors,
    /// The failed handshakes of late.
    pub lately: Failures,
    /// Handshakes of which wire and library say different things.
    pub conflicts: u64,
    /// Handshakes told by the wire alone.
    pub wire: u64,
    /// Completed handshakes per workload.
    pub workloads: Workloads,
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
            errors: Errors::default(),
            lately: Failures::default(),
            conflicts: 0,
            wire: 0,
            workloads: Workloads::new(limits.max_workloads),
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
        self.history[role].add(seen.outcome, seen.time_ns);
        match seen.outcome {
            Outcome::Completed(resumption) => {
                self.handshakes[role][seen.version as usize][resumption as usize] += 1;
                self.duration[role][resumption as usize].observe(seen.duration_ns);
                self.library_ns[role][resumption as usize] +=
                    seen.library().map_or(0, |facts| facts.library_ns);
                let sums = self.peers.completed(peer.clone(), resumption, seen.time_ns);
                sums.offers.add(seen, self.window_ns);
                sums.sessions_lost.missed += u64::from(seen.miss.is_some_and(|miss| miss.lossy));
                self.offer(seen);
                let port = seen.connection.map_or(0, |connection| match seen.role {
                    Role::Server => connection.local.port(),
                    Role::Client => connection.remote.port(),
                });
                self.workloads
                    .completed(seen.tgid.unwrap_or(0), port, seen.role, resumption);
            }
            Outcome::Failed(cause) => {
                self.failures[role][cause as usize] += 1;
                if let Some(reason) = seen.library().and_then(|facts| facts.reason) {
                    self.errors.add(seen.role, reason);
                }
                self.lately.add(seen, cause, peer.clone());
                let sums = self.peers.failed(peer.clone(), cause);
                let new = seen.role == Role::Server && seen.offer == Offer::Nothing;
                if new && cause == Cause::PacketLoss {
                    sums.sessions_lost.never_stored += 1;
                }
            }
        }
        self.conflicts += u64::from(seen.conflict);
        self.wire += u64::from(seen.source == Source::Wire);
        for phase in Phase::ALL {
            for direction in Direction::ALL {
                let all = seen.network.retransmits.get(phase, direction);
                let counted = seen.network.counted.get(phase, direction);
                self.retransmits[role][phase as usize][direction as usize] +=
                    u64::from(all.saturating_sub(counted));
            }
        }
        let failed = matches!(seen.outcome, Outcome::Failed(_));
        // Of one that failed, what was missing tells as much; one that completed got it after all, sooner or later.
        if seen.network.retransmits.any() || (failed && seen.network.loss()) {
            self.with_loss[role][usize::from(failed)] += 1;
            self.peers.lost(peer);
        }
    }

    /// Adds a retransmission that belongs to no handshake that is still to be observed.
    pub fn lose(&mut self, loss: &LateLoss, naming: &Naming) {
        let role = loss.role as usize;
        self.retransmits[role][loss.phase as usize][loss.direction as usize] += 1;
        if loss.first {
            self.with_loss[role][0] += 1;
            let peer = naming.name(loss.role, Some(loss.connection.remote));
            self.peers.lost(PeerKey {
                role: loss.role,
                peer,
            });
        }
    }

    /// A server forgot a session at the unclean end of this connection, which had met loss.
    pub fn cut(&mut self, connection: &Connection, naming: &Naming) {
        let (role, remote) = (Role::Server, Some(connection.remote));
        let peer = naming.name(role, remote);
        self.peers.forgot(PeerKey { role, peer });
    }

    fn offer(&mut self, seen: &Observation) {
        let role = seen.role as usize;
        match seen.offer_outcome() {
            None | Some(OfferOutcome::Unknown | OfferOutcome::Failed(..)) => {}
            Some(OfferOutcome::NotOffered) => self.not_offered[role] += 1,
            Some(OfferOutcome::Accepted(mechanism)) => {
                self.offers[role][mechanism as usize][0] += 1;
            }
            Some(OfferOutcome::Missed(mechanism, reason)) => {
                self.offers[role][mechanism as usize][1] += 1;
                self.misses[role][mechanism as usize][reason as usize] += 1;
            }
        }
        if seen.role == Role::Server
            && let Some((key, accepted)) = seen.ticket_key()
        {
            self.ticket_keys.add(key.get(), accepted);
        }
    }
}
