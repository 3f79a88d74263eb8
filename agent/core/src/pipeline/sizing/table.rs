//! The analyses of all services. Bounded: the least recently active service is evicted, and its
//! offers are added to `other`.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::{
    analysis::{Analysis, Handshake, Sums},
    tickets::Tickets,
};
use crate::model::{CgroupId, Resumption, ServiceId};

/// Handshakes of one kind, with the time that they took inside the library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Completed handshakes whose time was measured.
    pub handshakes: u64,
    /// Time inside the library, nanoseconds.
    pub library_ns: u64,
}

/// Handshakes of one service.
#[derive(Debug, Default)]
pub struct Service {
    /// The analysis of its cache; `None` while it has stored no session.
    pub cache: Option<Box<Analysis>>,
    /// Tickets that clients offered.
    pub tickets: Tickets,
    /// Cost of handshakes of TLS 1.2 and below, full and resumed.
    pub cost: [Cost; 2],
    /// TLS 1.3 handshakes with tickets that contain their session, full and resumed.
    pub tls13: [u64; 2],
    /// A process that serves it.
    pub process: Option<u32>,
    /// Control group of that process, or of its socket.
    pub cgroup: Option<CgroupId>,
    /// Its port.
    pub port: u16,
}

/// A ticket that a client offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TicketOffer {
    /// Age since it was issued, nanoseconds, where that was observed.
    pub age_ns: Option<u64>,
    /// Keys that the service has begun to use since its key, where that is known.
    pub keys_back: Option<u64>,
}

/// What a handshake shows about its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceHandshake {
    /// Port of the service.
    pub port: u16,
    /// The process that served it.
    pub process: Option<u32>,
    /// Control group of that process, or of its socket.
    pub cgroup: Option<CgroupId>,
    /// Full or resumed.
    pub resumption: Resumption,
    /// TLS 1.3.
    pub tls13: bool,
    /// Time inside the library, nanoseconds, where it was measured.
    pub library_ns: Option<u64>,
    /// Its cache entries.
    pub cache: Handshake,
    /// The ticket that the client offered.
    pub ticket: Option<TicketOffer>,
}

/// The analyses of all services.
#[derive(Debug)]
pub struct Services {
    table: LruCache<ServiceId, Service>,
    other: Sums,
    evicted: u64,
}

impl Services {
    /// At most `max` services.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            table: LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            other: Sums::default(),
            evicted: 0,
        }
    }

    /// Records a completed handshake of a service.
    pub fn record(&mut self, id: ServiceId, handshake: &ServiceHandshake) {
        if !self.table.contains(&id)
            && let Some((_, former)) = self.table.push(id, Service::default())
        {
            self.evicted += 1;
            let sums = former.cache.map(|cache| cache.sums).unwrap_or_default();
            self.other.accepted += sums.accepted;
            self.other.missed += sums.missed;
            self.other.missed_otherwise += sums.missed_otherwise;
            self.other.single_use += sums.single_use;
        }
        let Some(service) = self.table.get_mut(&id) else {
            return;
        };
        service.port = handshake.port;
        if handshake.process.is_some() || handshake.cgroup.is_some() {
            (service.process, service.cgroup) = (handshake.process, handshake.cgroup);
        }
        let resumed = handshake.resumption == Resumption::Resumed;
        if handshake.tls13 {
            let by_ticket = handshake.cache.stored.is_none();
            service.tls13[usize::from(resumed)] += u64::from(by_ticket);
        } else if let Some(library_ns) = handshake.library_ns {
            let cost = &mut service.cost[usize::from(resumed)];
            cost.handshakes += 1;
            cost.library_ns += library_ns;
        }
        if let Some(ticket) = handshake.ticket {
            service.tickets.record(ticket.age_ns, ticket.keys_back);
        }
        let cache = &handshake.cache;
        if cache.stored.is_some() || service.cache.is_some() {
            service
                .cache
                .get_or_insert_with(|| Box::new(Analysis::new(cache.time_ns)))
                .record(cache);
        }
    }

    /// Records that a session was removed from the cache of a service.
    pub fn remove(&mut self, id: ServiceId, token: u64) {
        if let Some(service) = self.table.peek_mut(&id)
            && let Some(cache) = &mut service.cache
        {
            cache.remove(token);
        }
    }

    /// A service.
    #[must_use]
    pub fn get(&self, id: ServiceId) -> Option<&Service> {
        self.table.peek(&id)
    }

    /// All services, in order of their ID.
    #[must_use]
    pub fn all(&self) -> Vec<(ServiceId, &Service)> {
        let mut all: Vec<_> = self.table.iter().map(|(id, known)| (*id, known)).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// Offers of evicted services.
    #[must_use]
    pub const fn other(&self) -> Sums {
        self.other
    }

    /// Number of services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Evicted services.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_beyond_the_limit_are_other() {
        let mut services = Services::new(2);
        let handshake = |offered: Option<u64>, stored: u64| ServiceHandshake {
            port: 443,
            process: None,
            cgroup: None,
            resumption: Resumption::Full,
            tls13: false,
            library_ns: Some(1_000),
            cache: Handshake {
                offered,
                stored: Some(stored),
                ..Handshake::default()
            },
            ticket: None,
        };
        for id in 1..=3 {
            services.record(ServiceId(id), &handshake(None, u64::from(id)));
            services.record(ServiceId(id), &handshake(Some(u64::from(id)), 7));
        }
        let known: Vec<_> = services.all().iter().map(|(id, _)| id.0).collect();
        assert_eq!(known, [2, 3]);
        assert_eq!(services.evicted(), 1);
        let sums = Sums {
            missed: 1,
            ..Sums::default()
        };
        assert_eq!(services.other(), sums);
        let cost = Cost {
            handshakes: 2,
            library_ns: 2_000,
        };
        assert_eq!(services.get(ServiceId(3)).unwrap().cost[0], cost);
    }
}
