//! Clients by address and network namespace: which processes here issued TLS 1.3 sessions to each.
//! The tickets themselves are encrypted, so this narrows down the origin of a ticket under an
//! unknown key. Bounded: the least recently used client is evicted; earlier sessions of a client
//! that appears afterwards may be missing.

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;

use super::{process::ProcessId, services::Services};
use crate::model::{Connection, KeyName, NetworkNamespace, ServiceId};

const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();
/// Maximum number of issuers retained per client; beyond it nothing is concluded from them.
const MAX_ISSUERS: usize = 8;
/// Tickets that servers usually issue on one connection.
const ONE_CONNECTION: usize = 2;
/// Keys of inferred or unknown origin retained per client, so that one client cannot fill the
/// tables.
const MAX_INFERRED: u8 = 8;
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// A client, as a server here sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientId {
    namespace: NetworkNamespace,
    address: IpAddr,
}

impl ClientId {
    /// The client of a connection to a server here.
    pub(super) const fn from_connection(connection: &Connection) -> Self {
        Self {
            namespace: connection.namespace,
            address: connection.remote.ip(),
        }
    }
}

/// One issuer of TLS 1.3 sessions to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientIssuer {
    pub(super) service: ServiceId,
    pub(super) process: Option<ProcessId>,
    pub(super) last_ns: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    issuers: [Option<ClientIssuer>; MAX_ISSUERS],
    overflowed: bool,
    /// Issuers before this time may be missing.
    complete_since_ns: u64,
    inferred: u8,
    unattributed: u8,
}

/// Table of clients.
#[derive(Debug)]
pub(super) struct Clients {
    table: LruCache<ClientId, Client>,
    /// Services to which keys that were never seen in use were attributed.
    origins: LruCache<KeyName, ServiceId>,
    /// Hashes of the first tickets under a key that was never seen in use, by service.
    first_tickets: LruCache<(ServiceId, KeyName), [Option<u64>; ONE_CONNECTION]>,
    unattributed: LruCache<(ServiceId, KeyName), ()>,
    unattributed_evicted: bool,
    evicted: u64,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self {
            table: LruCache::new(MAX_CLIENTS),
            origins: LruCache::new(MAX_KEYS),
            first_tickets: LruCache::new(MAX_KEYS),
            unattributed: LruCache::new(MAX_KEYS),
            unattributed_evicted: false,
            evicted: 0,
        }
    }

    /// Records that an issuer gave a TLS 1.3 session to this client.
    pub(super) fn record(&mut self, client: ClientId, issuer: ClientIssuer) {
        let entry = self.entry(client, issuer.last_ns);
        let same = |other: &ClientIssuer| {
            other.service == issuer.service && other.process == issuer.process
        };
        if let Some(known) = entry.issuers.iter_mut().flatten().find(|other| same(other)) {
            known.last_ns = known.last_ns.max(issuer.last_ns);
        } else if let Some(free) = entry.issuers.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(issuer);
        } else {
            entry.overflowed = true;
            if let Some(oldest) = entry
                .issuers
                .iter_mut()
                .flatten()
                .min_by_key(|old| old.last_ns)
            {
                *oldest = issuer;
            }
        }
    }

    fn entry(&mut self, client: ClientId, now_ns: u64) -> &mut Client {
        let is_full = self.table.len() == MAX_CLIENTS.get();
        self.evicted += u64::from(is_full && !self.table.contains(&client));
        let complete_since_ns = if self.evicted == 0 { 0 } else { now_ns };
        self.table.get_or_insert_mut(client, || Client {
            complete_since_ns,
            ..Client::default()
        })
    }

    /// Issuers of TLS 1.3 sessions to this client since `since_ns`; `None` where some may be
    /// missing.
    pub(super) fn issuers(
        &self,
        client: ClientId,
        since_ns: u64,
    ) -> Option<impl Iterator<Item = ClientIssuer> + Clone> {
        let entry = self.table.peek(&client)?;
        let recent = move |issuer: &ClientIssuer| issuer.last_ns >= since_ns;
        let is_complete = !entry.overflowed && since_ns >= entry.complete_since_ns;
        is_complete.then(|| entry.issuers.into_iter().flatten().filter(recent))
    }

    /// Whether this service gave, or may have given, a TLS 1.3 session to this client.
    pub(super) fn may_know(
        &self,
        client: ClientId,
        service: ServiceId,
        services: &Services,
    ) -> bool {
        self.table.peek(&client).map_or(self.evicted > 0, |entry| {
            let mut issuers = entry.issuers.iter().flatten();
            let is_complete = !entry.overflowed && entry.complete_since_ns == 0;
            !is_complete || issuers.any(|issuer| services.is_same(issuer.service, service))
        })
    }

    /// The service to which a key that was never seen in use was attributed.
    pub(super) fn origin(&self, key: KeyName) -> Option<ServiceId> {
        self.origins.peek(&key).copied()
    }

    /// Attributes a key that this client offered to a service.
    pub(super) fn record_origin(&mut self, client: ClientId, key: KeyName, service: ServiceId) {
        if !self.origins.contains(&key) && self.count_inference(client) {
            self.origins.put(key, service);
        }
    }

    /// Whether more tickets under this key were offered to the service than are issued on one
    /// connection; records the first ones.
    pub(super) fn has_several_tickets(
        &mut self,
        client: ClientId,
        service: ServiceId,
        key: KeyName,
        ticket: u64,
    ) -> bool {
        if let Some(first) = self.first_tickets.get_mut(&(service, key)) {
            if first.contains(&Some(ticket)) {
                return false;
            }
            let free = first.iter_mut().find(|first| first.is_none());
            return free.map(|free| *free = Some(ticket)).is_none();
        }
        if self.count_inference(client) {
            self.first_tickets.put((service, key), [Some(ticket), None]);
        }
        false
    }

    fn count_inference(&mut self, client: ClientId) -> bool {
        let entry = self.table.peek_mut(&client);
        let free = entry.filter(|entry| entry.inferred < MAX_INFERRED);
        free.map(|entry| entry.inferred += 1).is_some()
    }

    /// Records a key whose origin could not be concluded when this client offered it.
    pub(super) fn record_unattributed(
        &mut self,
        client: ClientId,
        service: ServiceId,
        key: KeyName,
    ) {
        let Some(entry) = self.table.peek_mut(&client) else {
            return;
        };
        if entry.unattributed < MAX_INFERRED && !self.unattributed.contains(&(service, key)) {
            entry.unattributed += 1;
            self.unattributed_evicted |= self.unattributed.len() == MAX_KEYS.get();
            self.unattributed.put((service, key), ());
        }
    }

    /// Whether this client has offered a key whose origin could not be concluded.
    pub(super) fn has_unattributed(&self, client: ClientId) -> bool {
        let entry = self.table.peek(&client);
        entry.is_some_and(|entry| entry.unattributed > 0)
    }

    /// Whether this key may be one whose origin could not be concluded.
    pub(super) fn may_be_unattributed(&self, service: ServiceId, key: KeyName) -> bool {
        self.unattributed_evicted || self.unattributed.contains(&(service, key))
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Clients evicted because the table was full.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}
