//! Clients that come to the services on this host: which of them are known, and which behave as no
//! working client does. Bounded: the least recently used client is evicted; for some time after
//! that, clients that were not observed before are not called new.

mod client;
mod foreign_keys;
mod pace;
mod slots;
mod summary;
mod visit;

use std::{collections::HashMap, num::NonZeroUsize};

use lru::LruCache;

use self::{
    client::{Client, ClientKey, SLOTS},
    foreign_keys::ForeignKeys,
    slots::Slots,
    visit::{Offered, Visit},
};
pub use self::{
    pace::Pace,
    summary::{ServiceArrivals, TrustedClients},
};
use super::services::ServiceKey;
use crate::model::{Connection, Observation};

/// Clients of all services.
const MAX_CLIENTS: usize = 65_536;
/// Slots for which all clients must be remembered before one can be new.
const MEMORY: u32 = 2 * SLOTS;

/// Time after which the handshakes of a slot are diagnosed: misses without a reason wait for
/// evidence, and handshakes that only packets show for their library.
const SETTLE_NS: u64 = 4_000_000_000;
/// Slots by which handshakes may be recorded out of order.
const LATE: u32 = 5;

/// A service whose clients are counted.
#[derive(Debug)]
struct Service {
    /// Its number, which clients refer to.
    number: u32,
    slots: Slots,
    /// End of its newest handshake, nanoseconds of `CLOCK_MONOTONIC`.
    newest_ns: u64,
}

/// Clients of the most recently active services.
#[derive(Debug)]
pub struct Arrivals {
    clients: LruCache<ClientKey, Client>,
    services: LruCache<ServiceKey, Service>,
    /// Number of the next service.
    next: u32,
    foreign_keys: ForeignKeys,
    slot_ns: u64,
    max_clients: usize,
    evicted: u64,
    /// Slot of the newest handshake of an evicted client.
    evicted_slot: Option<u32>,
}

impl Arrivals {
    pub(super) fn new(max_services: usize, window_ns: u64) -> Self {
        Self {
            // An unbounded table grows as it is filled; `client` bounds it.
            clients: LruCache::unbounded(),
            services: LruCache::new(NonZeroUsize::new(max_services).unwrap_or(NonZeroUsize::MIN)),
            next: 0,
            foreign_keys: ForeignKeys::new(),
            slot_ns: (window_ns / u64::from(SLOTS)).max(1),
            max_clients: MAX_CLIENTS,
            evicted: 0,
            evicted_slot: None,
        }
    }

    fn slot_at(&self, time_ns: u64) -> u32 {
        u32::try_from(time_ns / self.slot_ns).unwrap_or(u32::MAX)
    }

    /// Adds an ended handshake with a service.
    pub(super) fn record(&mut self, key: &ServiceKey, connection: &Connection, seen: &Observation) {
        let slot = self.slot_at(seen.time_ns);
        let client_key = ClientKey::new(connection, key.port);
        let is_first = !self.clients.contains(&client_key);
        if is_first {
            self.make_space();
        }
        let remembers = self.remembers_at(slot);
        let next = &mut self.next;
        let service = self.services.get_or_insert_mut_ref(key, || {
            *next += 1;
            Service {
                number: *next,
                slots: Slots::new(slot),
                newest_ns: 0,
            }
        });
        service.newest_ns = service.newest_ns.max(seen.time_ns);
        service.slots.advance(slot);
        let number = service.number;
        let mut visit = Visit::from_observation(seen);
        if let Offered::NotIssued(token) = visit.offered
            && let Some(name) = token.key
            && self.foreign_keys.is_shared(number, name, client_key)
        {
            visit.offered = Offered::Unclear;
        }
        let remembers = remembers && service.slots.has_usual();
        let create = || Client::new(number, slot, remembers);
        let client = self.clients.get_or_insert_mut(client_key, create);
        let is_counted = !is_first && client.newest >= slot && client.service == number;
        let before = is_counted.then(|| client.class());
        client.service = number;
        client.record(&visit, slot, self.slot_ns);
        let (newest, class) = (client.newest, client.class());
        service.slots.count(newest, before, class, visit.evicted);
    }

    /// Evicts the least recently used client from a full table.
    fn make_space(&mut self) {
        if self.clients.len() >= self.max_clients
            && let Some((_, evicted)) = self.clients.pop_lru()
        {
            self.evicted += 1;
            self.evicted_slot = self.evicted_slot.max(Some(evicted.newest));
        }
    }

    /// Whether every client since long before this slot is remembered.
    fn remembers_at(&self, slot: u32) -> bool {
        self.evicted_slot
            .is_none_or(|evicted| evicted.saturating_add(MEMORY) <= slot)
    }

    /// Removes the services whose newest handshake ended before `oldest_ns`.
    pub(super) fn forget(&mut self, oldest_ns: u64) {
        let is_gone = |(_, service): (&ServiceKey, &Service)| service.newest_ns < oldest_ns;
        while self.services.peek_lru().is_some_and(is_gone) {
            self.services.pop_lru();
        }
    }

    /// The clients of each service within the window that ends at `now_ns`.
    #[must_use]
    pub fn by_service(&self, now_ns: u64) -> HashMap<&ServiceKey, ServiceArrivals> {
        let slot = self.slot_at(now_ns);
        let unsettled = self.slot_at(now_ns.saturating_sub(SETTLE_NS));
        let knows_new = self.remembers_at(slot);
        let mut by_number = HashMap::new();
        for (key, service) in &self.services {
            let mut slots = service.slots;
            slots.advance(slot);
            let arrivals = ServiceArrivals {
                returning: slots.returning(unsettled),
                suspects_pace: slots.suspects(unsettled),
                evicted: slots.evicted(),
                is_learned: slots.has_usual(),
                knows_new,
                ..ServiceArrivals::default()
            };
            by_number.insert(service.number, (key, arrivals));
        }
        // The most recently used clients come first, nearly in the order of their handshakes.
        let is_recent = |client: &&Client| client.newest.saturating_add(SLOTS + LATE) > slot;
        let recent = self.clients.iter().map(|(_, client)| client);
        for client in recent.take_while(is_recent) {
            if client.newest.saturating_add(SLOTS) > slot
                && let Some((_, arrivals)) = by_number.get_mut(&client.service)
            {
                arrivals.add(client);
            }
        }
        by_number.into_values().collect()
    }

    /// Number of clients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Clients that left because the table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests;
