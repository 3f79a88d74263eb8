//! All sums over observations. The pipeline writes them, the views read them.

use std::{net::IpAddr, sync::Arc};

use enum_map::EnumMap;

use super::{
    alerts::{self, AlertReason},
    alerts_after_completion::AlertsAfterCompletion,
    arrivals::Arrivals,
    by_role::ByRole,
    ephemeral::EphemeralPorts,
    errors::Errors,
    explanations::{self, Explanation},
    failed_offers::{FailedOffers, FailedOffersOfServers},
    failures::Failures,
    histogram::Histogram,
    history::History,
    keys::TicketKeys,
    lifetimes::Lifetimes,
    limits::Limits,
    miss_examples::{MissExample, MissExamples},
    networks::Networks,
    outcomes::OfferSums,
    owners::Owners,
    peer_key::PeerKey,
    peer_name,
    peer_stats::PeerStats,
    peer_table::PeerTable,
    service_port::ServicePort,
    services::{ClientTable, ServiceKey, ServiceTable},
    visitors::Visitors,
};
use crate::{
    model::{
        Connection, Direction, EarlyDataOutcome, FailureCause, Mechanism, MissReason,
        NetworkEvidence, Observation, Offer, OfferOutcome, Outcome, Owner, Phase, Resumption, Role,
        Source, Version,
    },
    pipeline::{
        correlate::LateLoss,
        peers::{Naming, Peer},
    },
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
    /// Handshakes by offer.
    pub offers: ByRole<OfferSums>,
    /// Handshakes that offered early data.
    pub early_data: ByRole<EnumMap<EarlyDataOutcome, u64>>,
    /// Missed offers.
    pub misses: ByRole<EnumMap<Mechanism, EnumMap<MissReason, u64>>>,
    /// Tickets offered to servers here, by key.
    pub ticket_keys: TicketKeys,
    /// Failed handshakes by library error reason.
    pub errors: Errors,
    /// Alerts that arrived right after completion.
    pub alerts_after_completion: AlertsAfterCompletion,
    /// The most recent failed handshakes.
    pub recent_failures: Failures,
    /// Handshakes about which wire and library disagree.
    pub conflicts: u64,
    /// Handshakes that only the wire showed.
    pub wire: u64,
    /// Owners of processes.
    pub owners: Owners,
    /// Handshakes of servers on this host, per service.
    pub services: ServiceTable,
    /// Clients that come to the services on this host.
    pub arrivals: Arrivals,
    /// Networks of clients that abandoned handshakes.
    pub networks: Networks,
    /// Handshakes of clients on this host, per owner.
    pub clients: ClientTable,
    /// The last hour.
    pub history: ByRole<History>,
    /// Sums per peer.
    pub peers: PeerTable,
    /// The newest miss per peer and reason.
    pub miss_examples: MissExamples,
    ephemeral_ports: EphemeralPorts,
    /// Lifetimes of connections.
    pub lifetimes: Lifetimes,
    failed_offers: FailedOffersOfServers,
    visitors: Visitors,
    limits: Limits,
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
            early_data: ByRole::default(),
            misses: ByRole::default(),
            ticket_keys: TicketKeys::new(),
            errors: Errors::default(),
            alerts_after_completion: AlertsAfterCompletion::default(),
            recent_failures: Failures::default(),
            conflicts: 0,
            wire: 0,
            owners: Owners::new(),
            services: ServiceTable::new(limits.max_services),
            arrivals: Arrivals::new(limits.max_services, limits.window_ns),
            networks: Networks::new(),
            clients: ClientTable::new(limits.max_workloads),
            history: ByRole::default(),
            peers: PeerTable::new(limits),
            miss_examples: MissExamples::new(),
            ephemeral_ports: EphemeralPorts::new(),
            lifetimes: Lifetimes::new(),
            failed_offers: FailedOffersOfServers::new(),
            visitors: Visitors::new(),
            limits,
        }
    }

    /// Lets time pass: what had no handshake for long leaves.
    pub fn expire(&mut self, now_ns: u64) {
        let limits = &self.limits;
        let oldest_ns = now_ns.saturating_sub(limits.forget_after_ns);
        self.services.forget(oldest_ns);
        self.arrivals.forget(oldest_ns);
        self.clients.forget(oldest_ns);
        // The window of a peer's ratio must not begin before its entry does.
        let after_ns = limits.forget_peers_after_ns.max(limits.window_ns);
        self.peers.forget(now_ns.saturating_sub(after_ns));
    }

    /// Adds an ended handshake; returns its peer.
    pub fn record(&mut self, seen: &Observation, naming: &Naming) -> PeerKey {
        let peer = self.peer(seen.role, seen.connection.as_ref(), naming);
        self.history[seen.role].add(seen.outcome, seen.time_ns);
        self.failed_offers.record(seen);
        let owner = self.owners.owner(seen.cgroup, seen.tgid);
        self.record_owner(seen, Arc::clone(&owner), &peer.peer, naming);
        match seen.outcome {
            Outcome::Completed(resumption) => {
                self.record_completed(seen, resumption, peer.clone());
            }
            Outcome::Failed(cause) => self.record_failed(seen, cause, peer.clone(), owner),
        }
        if let Some(outcome) = seen.hello.and_then(|hello| hello.early_data) {
            self.early_data[seen.role][outcome] += 1;
        }
        self.conflicts += u64::from(seen.conflict);
        self.wire += u64::from(seen.source == Source::Wire);
        self.add_retransmits(seen.role, &seen.network);
        let failed = matches!(seen.outcome, Outcome::Failed(_));
        // A gap or a stall is evidence of loss in a failed handshake only: a completed one has
        // received the data after all.
        if seen.network.lost_segments() > 0 || (failed && seen.network.loss()) {
            let with_loss = &mut self.with_loss[seen.role];
            if failed {
                with_loss.failed += 1;
            } else {
                with_loss.completed += 1;
            }
            self.peers.record_loss(peer.clone());
        }
        peer
    }

    /// Adds the balancer through which a peer came.
    pub fn record_balancer(&mut self, peer: PeerKey, balancer: IpAddr) {
        self.peers.record_balancer(peer, balancer);
    }

    fn record_completed(&mut self, seen: &Observation, resumption: Resumption, peer: PeerKey) {
        self.handshakes[seen.role][seen.version][resumption] += 1;
        self.duration[seen.role][resumption].observe(seen.duration_ns);
        self.library_ns[seen.role][resumption] +=
            seen.library().map_or(0, |facts| facts.library_ns);
        if let Some(connection) = &seen.connection {
            let begin_ns = seen.time_ns.saturating_sub(seen.duration_ns);
            let span = (begin_ns, seen.time_ns);
            self.lifetimes.opened(connection, seen.role, span);
        }
        let outcome = seen.offer_outcome();
        let sums = self
            .peers
            .record_completed(peer.clone(), resumption, seen.time_ns);
        sums.offers.failed.record(seen);
        sums.sessions_lost.missed += u64::from(seen.miss.is_some_and(|miss| miss.lossy));
        if let Some(outcome) = outcome {
            let given = self.visitors.record(seen);
            sums.offers
                .record(seen, outcome, given, self.limits.window_ns);
            if let Some(example) = MissExample::from_observation(seen) {
                let misses = &sums.offers.misses;
                self.miss_examples.record(&peer, misses, example);
            }
            self.record_offer(seen, outcome);
        }
    }

    /// Adds a handshake to the sums of its service, or of the client's workload.
    fn record_owner(
        &mut self,
        seen: &Observation,
        owner: Arc<Owner>,
        peer: &Peer,
        naming: &Naming,
    ) {
        if seen.role == Role::Client {
            return self.clients.record(owner, seen);
        }
        let port = match seen.connection {
            None => ServicePort::Unknown,
            Some(connection) => {
                let end = connection.end(connection.local);
                if self.ephemeral_ports.is_folded(end) {
                    ServicePort::Ephemeral
                } else {
                    ServicePort::Number(end.address.port())
                }
            }
        };
        let key = ServiceKey { owner, port };
        // The addresses of another namespace are of its user's choice.
        if let Some(connection) = &seen.connection
            && *peer != Peer::OtherNamespace
        {
            self.arrivals.record(&key, connection, seen);
            self.networks.record(&key, connection, seen, naming);
        }
        self.services.record(key, seen);
    }

    fn record_failed(
        &mut self,
        seen: &Observation,
        cause: FailureCause,
        peer: PeerKey,
        owner: Arc<Owner>,
    ) {
        self.failures[seen.role][cause] += 1;
        if let Some(reason) = seen.library().and_then(|facts| facts.reason) {
            self.errors.add(seen.role, reason);
        }
        self.recent_failures.add(seen, cause, peer.clone(), owner);
        let sums = self.peers.record_failed(peer, cause, seen.time_ns);
        if let Some(outcome) = seen.offer_outcome() {
            sums.offers
                .record(seen, outcome, None, self.limits.window_ns);
            self.offers[seen.role].add(outcome);
        }
        sums.offers.failed.record(seen);
        let is_new = seen.role == Role::Server && seen.offer == Offer::Nothing;
        if is_new && cause == FailureCause::PacketLoss {
            sums.sessions_lost.never_stored += 1;
        }
    }

    fn record_offer(&mut self, seen: &Observation, outcome: OfferOutcome) {
        self.offers[seen.role].add(outcome);
        if let OfferOutcome::Missed(mechanism, reason) = outcome {
            self.misses[seen.role][mechanism][reason] += 1;
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
            let peer = self.peer(loss.role, Some(&loss.connection), naming);
            self.peers.record_loss(peer);
        }
    }

    /// Adds a session that a server removed at the unclean end of this connection, which had packet
    /// loss.
    pub fn record_cut_session(&mut self, connection: &Connection, naming: &Naming) {
        let peer = self.peer(Role::Server, Some(connection), naming);
        self.peers.record_cut_session(peer);
    }

    /// The reason for which there is advice for a peer: that of its alert, else failures that
    /// offers cause, the commonest reason of about twenty misses or more, or sessions that are
    /// seldom offered.
    #[must_use]
    pub fn advice_reason(
        &self,
        key: &PeerKey,
        sums: &PeerStats,
        now_ns: u64,
    ) -> Option<AlertReason> {
        let other = || {
            let failed = self.failed_offers(sums);
            alerts::reason_without_alert(&sums.offers, failed, key.role, now_ns)
        };
        sums.alert.or_else(other)
    }

    /// Failed handshakes from which it follows that offers of this peer cause its failures: its
    /// own, else those of all clients of its server.
    #[must_use]
    pub fn failed_offers(&self, sums: &PeerStats) -> Option<FailedOffers> {
        self.failed_offers.cause(&sums.offers.failed)
    }

    /// Explanations of a peer's misses, the commonest reason first; bounded.
    #[must_use]
    pub fn explanations(&self, key: &PeerKey, sums: &PeerStats) -> Vec<Explanation> {
        explanations::explanations(&self.miss_examples, key, sums)
    }

    /// Sums of the peers that are shown under this name, by role.
    #[must_use]
    pub fn peers_named(&self, name: &str) -> Vec<(PeerKey, &PeerStats)> {
        let peers = peer_name::peers_named(name);
        let keys = Role::ALL.into_iter().flat_map(|role| {
            let peers = peers.iter().cloned();
            peers.map(move |peer| PeerKey { role, peer })
        });
        keys.filter_map(|key| {
            let sums = self.peers.get(&key)?;
            Some((key, sums))
        })
        .collect()
    }

    /// The peer of a connection. Ephemeral ports of a server of clients here may be folded.
    fn peer(&mut self, role: Role, connection: Option<&Connection>, naming: &Naming) -> PeerKey {
        let named = naming.name(role, connection);
        let peer = match (named, connection) {
            (Peer::Service(server), Some(connection))
                if self.ephemeral_ports.is_folded(connection.end(server)) =>
            {
                Peer::Ephemeral(server.ip())
            }
            (named, _) => named,
        };
        PeerKey { role, peer }
    }
}

#[cfg(test)]
mod tests;
