//! Which listening ends on this host are one service. Two ends with one port are, once one process served both; several
//! processes are, once they served one end. Ends of different ports never are: each has sessions and keys of its own, but they
//! may share a cache, which shows when one takes what another gave.

use std::{net::SocketAddr, num::NonZeroUsize};

use lru::LruCache;

use crate::model::ServiceId;

/// Ends, processes and services remembered; the one that was unused for longest goes first.
const MAX: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// Steps from a service to the one it became part of: longer chains are cut where they are walked.
const MAX_STEPS: usize = 64;

/// What is known of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its port.
    pub(super) port: u16,
    /// When it was seen first, nanoseconds.
    pub(super) since_ns: u64,
    /// Lifetime of its newest session, nanoseconds.
    pub(super) lifetime_ns: Option<u64>,
    /// Its wall clock minus the host's, nanoseconds.
    pub(super) skew_ns: Option<i64>,
    /// Its PSK identities are session IDs.
    pub(super) stateful: bool,
}

#[derive(Debug, Clone, Copy)]
struct Service {
    facts: Facts,
    /// The service that this one turned out to be; itself otherwise.
    same: ServiceId,
    /// A service that it shares a cache with; itself otherwise.
    cache: ServiceId,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Services {
    ends: LruCache<SocketAddr, ServiceId>,
    processes: LruCache<(u32, u16), ServiceId>,
    services: LruCache<ServiceId, Service>,
    next: u32,
}

impl Services {
    pub(super) fn new() -> Self {
        Self {
            ends: LruCache::new(MAX),
            processes: LruCache::new(MAX),
            services: LruCache::new(MAX),
            next: 1,
        }
    }

    /// The service at `end`, as process `tgid` serves it, where that is known.
    pub(super) fn of(&mut self, end: SocketAddr, tgid: Option<u32>, now_ns: u64) -> ServiceId {
        let process = tgid.map(|tgid| (tgid, end.port()));
        let by_end = self.ends.get(&end).copied();
        let by_process = process.and_then(|process| self.processes.get(&process).copied());
        let service = match (by_end, by_process) {
            (Some(one), Some(other)) => self.merge(one, other),
            (Some(one), None) | (None, Some(one)) => self.root(one),
            (None, None) => ServiceId(0),
        };
        let service = match self.services.get(&service) {
            Some(_) => service,
            None => self.begin(end.port(), now_ns),
        };
        if by_end != Some(service) {
            self.ends.put(end, service);
        }
        if let Some(process) = process
            && by_process != Some(service)
        {
            self.processes.put(process, service);
        }
        service
    }

    fn begin(&mut self, port: u16, now_ns: u64) -> ServiceId {
        let id = ServiceId(self.next);
        self.next = self.next.wrapping_add(1).max(1);
        let facts = Facts {
            port,
            since_ns: now_ns,
            ..Facts::default()
        };
        let service = Service {
            facts,
            same: id,
            cache: id,
        };
        self.services.put(id, service);
        id
    }

    /// Both turned out to be one: the older one stays.
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

    fn root(&self, id: ServiceId) -> ServiceId {
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

    /// `taker` took a session that `giver` gave.
    pub(super) fn shares_cache(&mut self, giver: ServiceId, taker: ServiceId) {
        let (giver, taker) = (self.cache(giver), self.cache(taker));
        if giver != taker
            && let Some(service) = self.services.get_mut(&taker)
        {
            service.cache = giver;
        }
    }

    /// Whether each takes what the other gave.
    pub(super) fn share_cache(&self, one: ServiceId, other: ServiceId) -> bool {
        self.cache(one) == self.cache(other)
    }

    /// Whether this process serves this service.
    pub(super) fn runs(&self, service: ServiceId, tgid: u32) -> bool {
        let port = self.get(service).port;
        let served = self.processes.peek(&(tgid, port));
        served.is_some_and(|other| self.is_same(*other, service))
    }

    pub(super) fn get(&self, id: ServiceId) -> Facts {
        let service = self.services.peek(&self.root(id));
        service.map(|service| service.facts).unwrap_or_default()
    }

    pub(super) fn change(&mut self, id: ServiceId, change: impl FnOnce(&mut Facts)) {
        let root = self.root(id);
        if let Some(service) = self.services.get_mut(&root) {
            change(&mut service.facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], port))
    }

    #[test]
    fn ends_and_processes_grow_together() {
        let mut services = Services::new();
        let one = services.of(end(1, 443), Some(10), 5);
        assert_eq!(
            services.of(end(1, 443), Some(11), 6),
            one,
            "a second worker"
        );
        let other = services.of(end(2, 443), Some(12), 7);
        assert_ne!(other, one);
        assert_eq!(
            services.of(end(2, 443), Some(11), 8),
            one,
            "the second worker served both"
        );
        assert!(services.is_same(one, other));
        assert_eq!(services.get(other).since_ns, 5);
        assert!(services.runs(one, 12) && services.runs(other, 10));
        assert!(!services.runs(one, 13));
    }

    #[test]
    fn ports_are_services_of_their_own_and_may_share_a_cache() {
        let mut services = Services::new();
        let one = services.of(end(1, 443), Some(10), 5);
        let two = services.of(end(1, 8443), Some(10), 5);
        let three = services.of(end(1, 9443), None, 5);
        assert!(!services.is_same(one, two) && !services.share_cache(one, two));
        services.shares_cache(one, two);
        services.shares_cache(three, two);
        assert!(services.share_cache(one, three));
        assert!(!services.is_same(one, three));
    }
}
