//! All sums over observations. The pipeline writes them, the views read them.

use enum_map::EnumMap;

use super::{
    by_role::ByRole, errors::Errors, failures::Failures, histogram::Histogram, history::History,
    keys::TicketKeys, limits::Limits, outcomes::Outcomes, peer_key::PeerKey, peer_table::PeerTable,
    workloads::Workloads,
};
use crate::{
    model::{
        Connection, Direction, FailureCause, Mechanism, MissReason, NetworkEvidence, Observation,
        Offer, OfferOutcome, Outcome, Phase, Resumption, Role, Source, Version,
    },
    pipeline::{correlate::LateLoss, peers::Naming},
};

/// Handshakes with packet loss, by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WithLoss {
    /// Completed handshakes.
    pub completed: u64,
    /// Failed handshakes.
    pub failed: u64,
}

/// All sums over observations.
#[derive(Debug)]
pub struct Stats {
    /// Completed handshakes.
    pub handshakes: ByRole<EnumMap<Version, EnumMap<Resumption, u64>>>,
    /// Failed handshakes.
    pub failures: ByRole<EnumMap<FailureCause, u64>>,
    /// Durations of completed handshakes.
    pub duration: ByRole<EnumMap<Resumption, Histogram>>,
    /// Time inside the library of completed handshakes, nanoseconds.
    pub library_ns: ByRole<EnumMap<Resumption, u64>>,
    /// Retransmissions.
    pub retransmits: ByRole<EnumMap<Phase, EnumMap<Direction, u64>>>,
    /// Handshakes with packet loss.
    pub with_loss: ByRole<WithLoss>,
    /// Offers of completed handshakes.
    pub offers: ByRole<EnumMap<Mechanism, Outcomes>>,
    /// Missed offers.
    pub misses: ByRole<EnumMap<Mechanism, EnumMap<MissReason, u64>>>,
    /// Tickets offered to servers here, by key.
    pub ticket_keys: TicketKeys,
    /// Completed handshakes without an offer.
    pub not_offered: ByRole<u64>,
    /// Failed handshakes by library error reason.
    pub errors: Errors,
    /// The most recent failed handshakes.
    pub recent_failures: Failures,
    /// Handshakes about which wire and library disagree.
    pub conflicts: u64,
    /// Handshakes that only the wire showed.
    pub wire: u64,
    /// Completed handshakes per workload.
    pub workloads: Workloads,
    /// The last hour.
    pub history: ByRole<History>,
    /// Sums per peer.
    pub peers: PeerTable,
    window_ns: u64,
}

impl Stats {
    /// Empty sums.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            handshakes: ByRole::default(),
            failures: ByRole::default(),
            duration: ByRole::default(),
            library_ns: ByRole::default(),
            retransmits: ByRole::default(),
            with_loss: ByRole::default(),
            offers: ByRole::default(),
            misses: ByRole::default(),
            ticket_keys: TicketKeys::new(),
            not_offered: ByRole::default(),
            errors: Errors::default(),
            recent_failures: Failures::default(),
            conflicts: 0,
            wire: 0,
            workloads: Workloads::new(limits.max_workloads),
            history: ByRole::default(),
            peers: PeerTable::new(limits),
            window_ns: limits.window_ns,
        }
    }

    /// Adds an ended handshake.
    pub fn record(&mut self, seen: &Observation, naming: &Naming) {
        let peer = PeerKey {
            role: seen.role,
            peer: naming.name(
                seen.role,
                seen.connection.map(|connection| connection.remote),
            ),
        };
        self.history[seen.role].add(seen.outcome, seen.time_ns);
        match seen.outcome {
            Outcome::Completed(resumption) => {
                self.record_completed(seen, resumption, peer.clone());
            }
            Outcome::Failed(cause) => self.record_failed(seen, cause, peer.clone()),
        }
        self.conflicts += u64::from(seen.conflict);
        self.wire += u64::from(seen.source == Source::Wire);
        self.add_retransmits(seen.role, &seen.network);
        let failed = matches!(seen.outcome, Outcome::Failed(_));
        // A gap or a stall is evidence of loss in a failed handshake only: a completed one has
        // received the data after all.
        if seen.network.retransmits.any() || (failed && seen.network.loss()) {
            let with_loss = &mut self.with_loss[seen.role];
            if failed {
                with_loss.failed += 1;
            } else {
                with_loss.completed += 1;
            }
            self.peers.record_loss(peer);
        }
    }

    fn record_completed(&mut self, seen: &Observation, resumption: Resumption, peer: PeerKey) {
        self.handshakes[seen.role][seen.version][resumption] += 1;
        self.duration[seen.role][resumption].observe(seen.duration_ns);
        self.library_ns[seen.role][resumption] +=
            seen.library().map_or(0, |facts| facts.library_ns);
        let outcome = seen.offer_outcome();
        let sums = self.peers.record_completed(peer, resumption, seen.time_ns);
        sums.sessions_lost.missed += u64::from(seen.miss.is_some_and(|miss| miss.lossy));
        if let Some(outcome) = outcome {
            sums.offers.record(seen, outcome, self.window_ns);
            self.record_offer(seen, outcome);
        }
        let port = seen.connection.map_or(0, |connection| match seen.role {
            Role::Server => connection.local.port(),
            Role::Client => connection.remote.port(),
        });
        self.workloads
            .record_completed(seen.tgid, port, seen.role, resumption);
    }

    fn record_failed(&mut self, seen: &Observation, cause: FailureCause, peer: PeerKey) {
        self.failures[seen.role][cause] += 1;
        if let Some(reason) = seen.library().and_then(|facts| facts.reason) {
            self.errors.add(seen.role, reason);
        }
        self.recent_failures.add(seen, cause, peer.clone());
        let sums = self.peers.record_failed(peer, cause);
        let is_new = seen.role == Role::Server && seen.offer == Offer::Nothing;
        if is_new && cause == FailureCause::PacketLoss {
            sums.sessions_lost.never_stored += 1;
        }
    }

    fn record_offer(&mut self, seen: &Observation, outcome: OfferOutcome) {
        match outcome {
            OfferOutcome::Unknown | OfferOutcome::Failed(..) => {}
            OfferOutcome::NotOffered => self.not_offered[seen.role] += 1,
            OfferOutcome::Accepted(mechanism) => {
                self.offers[seen.role][mechanism].accepted += 1;
            }
            OfferOutcome::Missed(mechanism, reason) => {
                self.offers[seen.role][mechanism].missed += 1;
                self.misses[seen.role][mechanism][reason] += 1;
            }
        }
        if seen.role == Role::Server
            && let Some((key, accepted)) = seen.ticket_key()
        {
            self.ticket_keys.add(key, accepted);
        }
    }

    /// Adds the retransmissions of a handshake that were not recorded as late losses.
    fn add_retransmits(&mut self, role: Role, network: &NetworkEvidence) {
        for phase in Phase::ALL {
            for direction in Direction::ALL {
                let all = network.retransmits.get(phase, direction);
                let counted = network.counted.get(phase, direction);
                self.retransmits[role][phase][direction] += u64::from(all.saturating_sub(counted));
            }
        }
    }

    /// Adds a retransmission that no observation counts.
    pub fn record_loss(&mut self, loss: &LateLoss, naming: &Naming) {
        self.retransmits[loss.role][loss.phase][loss.direction] += 1;
        if loss.first {
            self.with_loss[loss.role].completed += 1;
            let peer = naming.name(loss.role, Some(loss.connection.remote));
            self.peers.record_loss(PeerKey {
                role: loss.role,
                peer,
            });
        }
    }

    /// Adds a session that a server removed at the unclean end of this connection, which had packet
    /// loss.
    pub fn record_cut_session(&mut self, connection: &Connection, naming: &Naming) {
        let role = Role::Server;
        let peer = naming.name(role, Some(connection.remote));
        self.peers.record_cut_session(PeerKey { role, peer });
    }
}
