//! Failed handshakes with and without an offer, of a peer and of a server.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::merge::Merge;
use crate::model::{End, Observation, Offer, OfferOutcome, Outcome, Role};

/// Failed handshakes with and without an offer, from the first failed offer on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedOffers {
    /// Offers whose handshake failed.
    pub failed: u64,
    /// Offers whose handshake completed.
    pub completed: u64,
    /// Failed handshakes that are known to have offered nothing.
    pub failed_without: u64,
    /// Completed handshakes without an offer.
    pub completed_without: u64,
    /// End of the last failed handshake with an offer, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// The server of that handshake; `None` where it is not on this host.
    pub server: Option<End>,
}

impl FailedOffers {
    /// Failures with an offer from which on the comparison is made.
    const MIN_FAILED: u64 = 5;
    /// Failures without an offer that would be expected at the rate of those with one, and from
    /// which on their absence is no coincidence.
    const MIN_EXPECTED: u64 = 3;
    /// How many times as often handshakes with an offer fail.
    const FACTOR: u64 = 10;

    /// Handshakes with an offer.
    #[must_use]
    pub const fn with(&self) -> u64 {
        self.failed + self.completed
    }

    /// Handshakes without an offer.
    #[must_use]
    pub const fn without(&self) -> u64 {
        self.failed_without + self.completed_without
    }

    /// Adds a handshake.
    pub(super) fn record(&mut self, seen: &Observation) {
        let failed = matches!(seen.outcome, Outcome::Failed(_));
        match seen.offer_outcome() {
            Some(OfferOutcome::Failed(..)) => {
                self.failed += 1;
                self.last_ns = seen.time_ns;
                self.server = server(seen);
            }
            _ if self.failed == 0 => {}
            Some(OfferOutcome::NotOffered) => self.completed_without += 1,
            Some(OfferOutcome::Accepted(_) | OfferOutcome::Missed(..)) => self.completed += 1,
            None if failed && seen.offer == Offer::Nothing => self.failed_without += 1,
            Some(_) | None => {}
        }
    }

    /// Whether a peer's offers fail often enough for what is true of all clients of its server to
    /// be true of it.
    const fn mostly_fail(&self) -> bool {
        self.failed >= Self::MIN_FAILED && self.failed > self.completed
    }

    /// Whether handshakes fail because a session is offered: those without an offer hardly do.
    #[must_use]
    pub const fn are_cause(&self) -> bool {
        let expected = self.failed.saturating_mul(self.without());
        self.failed >= Self::MIN_FAILED
            && expected >= self.with().saturating_mul(Self::MIN_EXPECTED)
            && expected
                >= self
                    .failed_without
                    .saturating_mul(self.with())
                    .saturating_mul(Self::FACTOR)
    }
}

impl Merge for FailedOffers {
    fn merge(&mut self, other: &Self) {
        self.failed += other.failed;
        self.completed += other.completed;
        self.failed_without += other.failed_without;
        self.completed_without += other.completed_without;
        self.last_ns = self.last_ns.max(other.last_ns);
        self.server = other.server.or(self.server);
    }
}

/// The server's end of the connection, for a handshake of a server on this host.
fn server(seen: &Observation) -> Option<End> {
    let connection = seen.connection.filter(|_| seen.role == Role::Server)?;
    Some(connection.end(connection.local))
}

/// Servers with failed offers; the least recently used is evicted.
const MAX_SERVERS: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Failed handshakes of servers on this host. A client that fails whenever it offers a session has
/// hardly any handshake without one; the first visits of other clients are the comparison.
#[derive(Debug)]
pub(super) struct FailedOffersOfServers(LruCache<End, FailedOffers>);

impl FailedOffersOfServers {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_SERVERS))
    }

    /// Adds a handshake.
    pub(super) fn record(&mut self, seen: &Observation) {
        let Some(server) = server(seen) else { return };
        if matches!(seen.offer_outcome(), Some(OfferOutcome::Failed(..))) {
            let sums = self.0.get_or_insert_mut(server, FailedOffers::default);
            sums.record(seen);
        } else if let Some(sums) = self.0.get_mut(&server) {
            sums.record(seen);
        }
    }

    /// The sums from which it follows that offers of this peer cause its failures: its own, else
    /// those of the server that failed them.
    pub(super) fn cause(&self, of_peer: &FailedOffers) -> Option<FailedOffers> {
        if of_peer.are_cause() {
            return Some(*of_peer);
        }
        let of_server = self.0.peek(&of_peer.server?)?;
        let follows = of_peer.mostly_fail() && of_server.are_cause();
        follows.then_some(*of_server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{FailureCause, Mechanism, Resumption},
        pipeline::stats::testing::seen,
    };

    fn compared(failed: u64, completed: u64, failed_without: u64, completed_without: u64) -> bool {
        let offers = FailedOffers {
            failed,
            completed,
            failed_without,
            completed_without,
            last_ns: 0,
            server: None,
        };
        offers.are_cause()
    }

    #[test]
    fn offers_are_the_cause_of_failures_that_handshakes_without_one_do_not_have() {
        assert!(compared(8, 0, 0, 8));
        assert!(!compared(4, 0, 0, 8), "few failures");
        assert!(!compared(8, 0, 0, 2), "few handshakes without an offer");
        assert!(
            !compared(8, 792, 0, 8),
            "none of 8 fails at one in 100, too"
        );
        assert!(!compared(8, 0, 8, 8), "others fail, too");
        assert!(compared(80, 20, 1, 99));
    }

    #[test]
    fn first_visits_of_other_clients_are_the_comparison() {
        let mut servers = FailedOffersOfServers::new();
        let mut peer = FailedOffers::default();
        let full = Outcome::Completed(Resumption::Full);
        let failed = Outcome::Failed(FailureCause::AlertSent);
        for _ in 0..6 {
            let one = seen(
                Role::Server,
                "192.0.2.2:1",
                failed,
                Offer::Session(Mechanism::Ticket),
            );
            peer.record(&one);
            servers.record(&one);
        }
        assert_eq!(servers.cause(&peer), None, "no handshake without an offer");
        for _ in 0..3 {
            servers.record(&seen(Role::Server, "192.0.2.3:1", full, Offer::Nothing));
        }
        let cause = servers
            .cause(&peer)
            .expect("the first visits of another client");
        assert_eq!((cause.failed, cause.completed_without), (6, 3));
        peer.failed = 4;
        assert_eq!(servers.cause(&peer), None, "few failures of this peer");
    }

    #[test]
    fn servers_with_failed_offers_are_bounded() {
        let mut servers = FailedOffersOfServers::new();
        for port in 1..=2 * MAX_SERVERS.get() as u16 {
            let failed = Outcome::Failed(FailureCause::AlertSent);
            let mut one = seen(
                Role::Server,
                "192.0.2.2:1",
                failed,
                Offer::Session(Mechanism::Ticket),
            );
            let connection = one.connection.as_mut().expect("a connection");
            connection.local.set_port(port);
            servers.record(&one);
        }
        assert_eq!(servers.0.len(), MAX_SERVERS.get());
    }
}
