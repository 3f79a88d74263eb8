//! Services: which listening ends on this host belong together. Two ends with one port do once one
//! process served both; several processes do once they served one end. Ends of different ports are
//! different services, with sessions and keys of their own, but they may share a cache, which shows
//! when one accepts what another issued. Bounded: the least recently used is evicted. After an
//! eviction a new service may be one that was known before, so that nothing is concluded from the
//! difference between the two.

use std::{hash::Hash, num::NonZeroUsize};

use lru::LruCache;

use super::clock::ServerClock;
use crate::model::{End, ServiceId};

/// Ends, processes and services retained.
const MAX: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// Maximum number of steps from a service to the one that it was merged into; longer chains are
/// cut.
const MAX_STEPS: usize = 64;
/// Misses in a row at a low rank that outweigh earlier acceptances.
const MISSES_IN_A_ROW: u64 = 10;

/// Whether a service stores the sessions that it issues, as offers to the process that issued them
/// show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Storage {
    /// Sessions accepted.
    pub(super) accepted: u64,
    /// Highest rank at which one was accepted.
    pub(super) max_rank: u64,
    /// Sessions missed at a rank below any cache's capacity, since the last acceptance.
    pub(super) low_misses: u64,
    /// Lowest rank, of those at which a cache can be full, at which the issuer itself missed a
    /// session; an acceptance at this or a higher rank resets it.
    pub(super) high_miss_rank: Option<u64>,
}

impl Storage {
    /// Records an acceptance at this rank.
    pub(super) fn accept(&mut self, rank: u64) {
        self.accepted += 1;
        self.max_rank = self.max_rank.max(rank);
        self.low_misses = 0;
        self.high_miss_rank = self.high_miss_rank.filter(|missed| *missed > rank);
    }

    /// Whether the offers show that nothing is stored.
    pub(super) const fn is_disproven(&self) -> bool {
        (self.accepted == 0 && self.low_misses > 0) || self.low_misses >= MISSES_IN_A_ROW
    }
}

/// State of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServiceState {
    pub(super) port: u16,
    pub(super) first_seen_ns: u64,
    /// Lifetime of its newest session, nanoseconds.
    pub(super) lifetime_ns: Option<u64>,
    /// Its wall clock minus the host's, nanoseconds.
    pub(super) skew_ns: Option<i64>,
    pub(super) clock: ServerClock,
    /// Its PSK identities are session IDs.
    pub(super) stateful: bool,
    pub(super) issues_ids: bool,
    pub(super) issues_tickets: bool,
    /// Sessions that it issued: IDs of TLS 1.2 and below, and TLS 1.3 sessions.
    pub(super) issued: [u64; 2],
    /// Storage of the two kinds.
    pub(super) storage: [Storage; 2],
    /// One process accepted a session of another.
    pub(super) shares_cache: bool,
    /// One process accepted a session whose issuer had ended.
    pub(super) cache_outlives_process: bool,
    /// One process accepted a ticket whose issuer had ended.
    pub(super) keys_outlive_process: bool,
    /// Its tickets begin with the name of their key.
    pub(super) names_keys: bool,
    /// Several processes served it.
    pub(super) processes: u32,
    /// Whether nothing had been evicted when it began: then it is certainly not a service that was
    /// known before.
    pub(super) is_new: bool,
}

#[derive(Debug, Clone, Copy)]
struct Service {
    state: ServiceState,
    /// The service that this one was merged into; itself otherwise.
    same: ServiceId,
    /// A service that it shares a cache with; itself otherwise.
    cache: ServiceId,
}

/// Table of services.
#[derive(Debug)]
pub(super) struct Services {
    ends: LruCache<End, ServiceId>,
    processes: LruCache<(u32, u16), ServiceId>,
    services: LruCache<ServiceId, Service>,
    next: u32,
    /// Ends, processes and services evicted.
    evicted: u64,
}

impl Services {
    pub(super) fn new() -> Self {
        Self {
            ends: LruCache::new(MAX),
            processes: LruCache::new(MAX),
            services: LruCache::new(MAX),
            next: 1,
            evicted: 0,
        }
    }

    /// The service at `end`, which process `tgid` serves.
    pub(super) fn for_end(&mut self, end: End, tgid: Option<u32>, now_ns: u64) -> ServiceId {
        let process = tgid.map(|tgid| (tgid, end.address.port()));
        let by_end = self.ends.get(&end).copied();
        let by_process = process.and_then(|process| self.processes.get(&process).copied());
        let service = match (by_end, by_process) {
            (Some(one), Some(other)) => self.merge(one, other),
            (Some(one), None) | (None, Some(one)) => self.root(one),
            (None, None) => ServiceId(0),
        };
        let service = match self.services.get(&service) {
            Some(_) => service,
            None => self.begin(end.address.port(), now_ns),
        };
        if by_end != Some(service) {
            self.evicted += put(&mut self.ends, end, service);
        }
        if let Some(process) = process
            && by_process != Some(service)
        {
            self.evicted += put(&mut self.processes, process, service);
            self.change(service, |state| state.processes += 1);
        }
        service
    }

    /// The service at `end`, where one was observed.
    pub(super) fn at(&self, end: &End) -> Option<ServiceId> {
        self.ends.peek(end).map(|service| self.root(*service))
    }

    fn begin(&mut self, port: u16, now_ns: u64) -> ServiceId {
        let id = ServiceId(self.next);
        self.next = self.next.wrapping_add(1).max(1);
        let state = ServiceState {
            port,
            first_seen_ns: now_ns,
            is_new: self.evicted == 0,
            ..ServiceState::default()
        };
        let service = Service {
            state,
            same: id,
            cache: id,
        };
        self.evicted += put(&mut self.services, id, service);
        id
    }

    /// Merges two services that are one: the older one remains.
    fn merge(&mut self, one: ServiceId, other: ServiceId) -> ServiceId {
        let (one, other) = (self.root(one), self.root(other));
        let (older, younger) = if one.0 <= other.0 {
            (one, other)
        } else {
            (other, one)
        };
        if older != younger
            && self.services.contains(&older)
            && let Some(service) = self.services.get_mut(&younger)
        {
            service.same = older;
        }
        older
    }

    /// The service that `id` was merged into, or itself.
    pub(super) fn root(&self, id: ServiceId) -> ServiceId {
        self.walk(id, |service| service.same)
    }

    fn walk(&self, id: ServiceId, next: impl Fn(&Service) -> ServiceId) -> ServiceId {
        let mut id = id;
        for _ in 0..MAX_STEPS {
            match self.services.peek(&id).map(&next) {
                Some(other) if other != id => id = other,
                _ => break,
            }
        }
        id
    }

    /// Whether both are one service.
    pub(super) fn is_same(&self, one: ServiceId, other: ServiceId) -> bool {
        self.root(one) == self.root(other)
    }

    fn cache(&self, id: ServiceId) -> ServiceId {
        self.walk(self.root(id), |service| service.cache)
    }

    /// Records that `acceptor` accepted a session that `issuer` issued.
    pub(super) fn record_shared_cache(&mut self, issuer: ServiceId, acceptor: ServiceId) {
        let (issuer, acceptor) = (self.cache(issuer), self.cache(acceptor));
        if issuer != acceptor
            && let Some(service) = self.services.get_mut(&acceptor)
        {
            service.cache = issuer;
        }
    }

    /// Whether both use one cache.
    pub(super) fn share_cache(&self, one: ServiceId, other: ServiceId) -> bool {
        self.cache(one) == self.cache(other)
    }

    /// Whether both are certainly different services without a common cache; false also where the
    /// evidence that joins them may have been evicted.
    pub(super) fn are_distinct(&self, one: ServiceId, other: ServiceId) -> bool {
        let is_known = |id| {
            let service = self.services.peek(&self.root(id));
            service.is_some_and(|service| service.state.is_new)
        };
        !self.is_same(one, other)
            && !self.share_cache(one, other)
            && is_known(one)
            && is_known(other)
    }

    /// Whether this process serves this service; `None` where that may have been evicted.
    pub(super) fn is_served_by(&self, service: ServiceId, tgid: u32) -> Option<bool> {
        let known = self.services.peek(&self.root(service));
        let port = known.map(|known| known.state.port);
        let served = port.and_then(|port| self.processes.peek(&(tgid, port)));
        match served {
            Some(other) => Some(self.is_same(*other, service)),
            None => (self.evicted == 0).then_some(false),
        }
    }

    /// Whether the service is in the table.
    pub(super) fn contains(&self, id: ServiceId) -> bool {
        self.services.contains(&self.root(id))
    }

    pub(super) fn len(&self) -> usize {
        self.services.len()
    }

    /// Ends, processes and services evicted.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn get(&self, id: ServiceId) -> ServiceState {
        let service = self.services.peek(&self.root(id));
        service.map(|service| service.state).unwrap_or_default()
    }

    pub(super) fn change(&mut self, id: ServiceId, change: impl FnOnce(&mut ServiceState)) {
        let root = self.root(id);
        if let Some(service) = self.services.get_mut(&root) {
            change(&mut service.state);
        }
    }
}

/// Inserts an entry; returns the number of entries evicted for it.
fn put<K: Copy + Eq + Hash, V>(table: &mut LruCache<K, V>, key: K, value: V) -> u64 {
    let replaced = table.push(key, value);
    u64::from(replaced.is_some_and(|(other, _)| other != key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetworkNamespace;

    fn end(last: u8, port: u16) -> End {
        End {
            namespace: NetworkNamespace::Unknown,
            address: ([127, 0, 0, last], port).into(),
        }
    }

    #[test]
    fn one_address_in_two_namespaces_is_two_services() {
        let mut services = Services::new();
        let pod = |inode| End {
            namespace: NetworkNamespace::Privileged(inode),
            ..end(1, 443)
        };
        let one = services.for_end(pod(1), Some(10), 5);
        let two = services.for_end(pod(2), Some(11), 5);
        assert_ne!(one, two);
        assert_eq!(services.for_end(pod(1), Some(12), 6), one);
        assert_eq!(services.at(&pod(2)), Some(two));
        assert_eq!(services.at(&end(1, 443)), None);
    }

    #[test]
    fn ends_and_processes_join_into_one_service() {
        let mut services = Services::new();
        let one = services.for_end(end(1, 443), Some(10), 5);
        assert_eq!(
            services.for_end(end(1, 443), Some(11), 6),
            one,
            "a second worker"
        );
        let other = services.for_end(end(2, 443), Some(12), 7);
        assert_ne!(other, one);
        assert_eq!(
            services.for_end(end(2, 443), Some(11), 8),
            one,
            "the second worker served both"
        );
        assert!(services.is_same(one, other));
        assert_eq!(services.get(other).first_seen_ns, 5);
        let served_by = |service, tgid| services.is_served_by(service, tgid);
        assert_eq!([served_by(one, 12), served_by(other, 10)], [Some(true); 2]);
        assert_eq!(served_by(one, 13), Some(false));
    }

    #[test]
    fn different_ports_are_different_services_that_may_share_a_cache() {
        let mut services = Services::new();
        let one = services.for_end(end(1, 443), Some(10), 5);
        let two = services.for_end(end(1, 8443), Some(10), 5);
        let three = services.for_end(end(1, 9443), None, 5);
        assert!(!services.is_same(one, two) && !services.share_cache(one, two));
        services.record_shared_cache(one, two);
        services.record_shared_cache(three, two);
        assert!(services.share_cache(one, three));
        assert!(!services.is_same(one, three));
    }
}
