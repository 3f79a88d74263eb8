//! Handshakes of services on this host, and of the clients on it. A service is a port and the owner
//! of its processes. Clients have no port: one that connects to many ports has one entry.

use std::{num::NonZeroUsize, sync::Arc};

use enum_map::EnumMap;

use super::{
    merge::Merge,
    outcomes::OfferSums,
    recent_table::{RecentTable, Single},
    service_port::ServicePort,
};
use crate::model::{
    FailureCause, MissReason, Observation, OfferOutcome, Outcome, Owner, Resumption,
};

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Owner of its processes.
    pub owner: Arc<Owner>,
    /// Its port.
    pub port: ServicePort,
}

/// Sums of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceSums {
    /// Completed handshakes.
    pub completed: EnumMap<Resumption, u64>,
    /// Failed handshakes.
    pub failures: EnumMap<FailureCause, u64>,
    /// Handshakes by offer.
    pub offers: OfferSums,
    /// Missed offers.
    pub misses: EnumMap<MissReason, u64>,
    /// Completed handshakes whose client had closed or reset the connection before.
    pub gone: u64,
    /// End of the newest handshake, nanoseconds of `CLOCK_MONOTONIC`.
    last_ns: u64,
}

impl ServiceSums {
    fn record(&mut self, seen: &Observation) {
        self.last_ns = self.last_ns.max(seen.time_ns);
        match seen.outcome {
            Outcome::Completed(resumption) => {
                self.completed[resumption] += 1;
                self.gone += u64::from(seen.network.closed_by_peer);
            }
            Outcome::Failed(cause) => self.failures[cause] += 1,
        }
        if let Some(outcome) = seen.offer_outcome() {
            self.offers.add(outcome);
            if let OfferOutcome::Missed(_, reason) = outcome {
                self.misses[reason] += 1;
            }
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let counts = self.completed.values().chain(self.failures.values());
        counts.sum::<u64>() == 0
    }
}

impl Merge for ServiceSums {
    fn merge(&mut self, other: &Self) {
        self.completed.merge(&other.completed);
        self.failures.merge(&other.failures);
        self.offers.merge(&other.offers);
        self.misses.merge(&other.misses);
        self.gone += other.gone;
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

/// Sums of the most recently active services; those of the others are added up.
pub type ServiceTable = SumTable<ServiceKey>;
/// Sums of the most recently active workloads that connect to servers; those of the others are
/// added up.
pub type ClientTable = SumTable<Arc<Owner>>;

/// Sums of the most recently active keys; those of the others are added up.
#[derive(Debug)]
pub struct SumTable<K: std::hash::Hash + Eq> {
    table: RecentTable<K, ServiceSums, Single<ServiceSums>>,
    forgotten: u64,
}

impl<K: std::hash::Hash + Ord> SumTable<K> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: RecentTable::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            forgotten: 0,
        }
    }

    /// Adds an ended handshake.
    pub(super) fn record(&mut self, key: K, seen: &Observation) {
        self.table.entry(key).record(seen);
    }

    /// Removes the keys whose newest handshake ended before `oldest_ns`. Their sums leave with
    /// them: added to those of the others, they would look like new handshakes.
    pub(super) fn forget(&mut self, oldest_ns: u64) {
        self.forgotten += self.table.remove_oldest(|sums| sums.last_ns < oldest_ns);
    }

    /// Keys with sums of their own, in order.
    #[must_use]
    pub fn named(&self) -> Vec<(&K, &ServiceSums)> {
        self.table.sorted()
    }

    /// Sums of one key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&ServiceSums> {
        self.table.get(key)
    }

    /// Sums of the others.
    #[must_use]
    pub const fn other(&self) -> &ServiceSums {
        &self.table.other().0
    }

    /// Keys that left because the table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Keys that left because they had no handshake for long.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Number of keys with sums of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Mechanism, Offer, Role},
        pipeline::stats::testing::seen,
    };

    const FULL: Outcome = Outcome::Completed(Resumption::Full);
    const FAILED: Outcome = Outcome::Failed(FailureCause::Reset);

    fn key(pod: &str, port: u16) -> ServiceKey {
        let owner = Owner {
            pod: pod.to_owned(),
            ..Owner::from_workload("till")
        };
        ServiceKey {
            owner: Arc::new(owner),
            port: ServicePort::Number(port),
        }
    }

    fn at(time_ns: u64, outcome: Outcome, offer: Offer) -> Observation {
        Observation {
            time_ns,
            ..seen(Role::Server, "192.0.2.9:1", outcome, offer)
        }
    }

    #[test]
    fn pods_with_the_same_port_are_two_services_and_the_total_remains() {
        let mut services = ServiceTable::new(2);
        let psk = Offer::Session(Mechanism::Psk);
        services.record(key("till-0", 443), &at(1, FULL, psk));
        services.record(key("till-1", 443), &at(2, FAILED, psk));
        services.record(key("till-0", 443), &at(3, FULL, Offer::Nothing));
        services.record(key("till-0", 8443), &at(4, FULL, Offer::Unknown));
        let sums = services.get(&key("till-0", 443)).unwrap();
        assert_eq!(sums.completed[Resumption::Full], 2);
        assert_eq!(sums.misses[MissReason::Unknown], 1);
        assert_eq!(sums.offers.offered[Mechanism::Psk].missed, 1);
        assert_eq!(sums.offers.not_offered, 1);
        assert_eq!(services.other().failures[FailureCause::Reset], 1);
        assert_eq!(services.other().offers.offered[Mechanism::Psk].failed, 1);
        assert_eq!((services.evicted(), services.len()), (1, 2));
        let ports = services.named().into_iter().map(|(key, _)| key.port);
        let expected = [443, 8443].map(ServicePort::Number);
        assert!(ports.eq(expected));
    }

    #[test]
    fn services_without_handshakes_leave_with_their_sums() {
        let mut services = ServiceTable::new(8);
        for (pod, time_ns) in [("a", 10), ("b", 20), ("a", 30), ("c", 40)] {
            services.record(key(pod, 443), &at(time_ns, FULL, Offer::Nothing));
        }
        services.forget(30);
        assert_eq!((services.len(), services.forgotten()), (2, 1));
        assert!(services.get(&key("b", 443)).is_none());
        assert!(services.other().is_empty());
        assert_eq!(services.evicted(), 0);
        services.forget(100);
        assert!(services.is_empty());
        services.record(key("b", 443), &at(200, FULL, Offer::Nothing));
        let sums = services.get(&key("b", 443)).unwrap();
        assert_eq!(sums.completed[Resumption::Full], 1);
    }
}
