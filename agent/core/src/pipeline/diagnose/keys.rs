//! Ticket keys by service: which processes used each, by issuing a ticket under it or accepting
//! one. What a client merely offers is not admitted. Bounded: the least recently used is evicted.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::process::ProcessId;
use crate::model::{KeyName, ServiceId, Token};

/// Keys retained over all services.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Keys retained of one service.
const MAX_KEYS_PER_SERVICE: usize = 512;
/// Minimum number of issued tickets that show whether each has a key of its own.
const MIN_ISSUED: u64 = 10;
const MIN_ISSUED_PER_PROCESS: u64 = 4;
/// Processes retained per key, most recent first.
const MAX_USERS: usize = 8;
/// Length of a session ID that some libraries send in place of a ticket (Erlang/OTP).
const ID_LENGTH: u32 = 16;

/// Uses of a key by one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyUse {
    /// The first ticket: a second one with the same beginning shows that it is a name.
    first_ticket: u64,
    confirmed: bool,
    /// A ticket under it was accepted.
    accepted: bool,
    pub(super) first_ns: u64,
    /// Keys that the service had begun to use when it began to use this one.
    ordinal: u64,
    /// Position of its first and last use among all key uses of the service.
    first_serial: u64,
    last_serial: u64,
    /// The process that began to use it used another key of the service before.
    rotated: bool,
    users: [Option<ProcessId>; MAX_USERS],
}

impl KeyUse {
    /// Processes that used the key, most recent first.
    pub(super) fn users(&self) -> impl Iterator<Item = ProcessId> {
        self.users.into_iter().flatten()
    }

    /// Whether it was used for more than the connection that introduced it.
    pub(super) const fn is_for_several_connections(&self) -> bool {
        self.confirmed || self.accepted
    }

    pub(super) fn was_used_by(&self, process: ProcessId) -> bool {
        self.users().any(|user| user == process)
    }
}

/// What the use of a key shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The ticket's first bytes are confirmed as a key name.
    pub(super) confirmed: bool,
    /// The key replaced another one of the process, at this time; once per key.
    pub(super) rotated_ns: Option<u64>,
}

/// Key uses of one service.
#[derive(Debug)]
struct ServiceKeys {
    used: LruCache<KeyName, KeyUse>,
    serial: u64,
    /// Keys that it has begun to use.
    begun: u64,
    newest: Option<KeyName>,
    issued: u64,
    new_keys: u64,
    /// Some of its keys may have been evicted.
    lost_any: bool,
    /// Some of its keys may have been evicted for keys of other services.
    lost_to_others: bool,
}

impl ServiceKeys {
    /// No keys yet; some may have been evicted before if another service ever evicted any.
    fn new(lost_to_others: bool) -> Self {
        Self {
            used: LruCache::unbounded(),
            serial: 0,
            begun: 0,
            newest: None,
            issued: 0,
            new_keys: 0,
            lost_any: lost_to_others,
            lost_to_others,
        }
    }
}

/// Table of keys.
#[derive(Debug)]
pub(super) struct Keys {
    services: LruCache<ServiceId, ServiceKeys>,
    /// Keys of all services.
    count: usize,
    /// The service that used each key last.
    last_service: LruCache<KeyName, ServiceId>,
    evicted: u64,
    /// Keys evicted for keys of other services.
    evicted_for_others: u64,
}

/// Name of the key of a ticket; `None` for a token that is not a ticket by its length.
pub(super) fn key_of(token: &Token) -> Option<KeyName> {
    token.key.filter(|_| token.length > ID_LENGTH)
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            services: LruCache::unbounded(),
            count: 0,
            last_service: LruCache::new(MAX_KEYS),
            evicted: 0,
            evicted_for_others: 0,
        }
    }

    /// Records that the service issued or accepted this ticket.
    pub(super) fn record(
        &mut self,
        service: ServiceId,
        ticket: &Token,
        process: Option<ProcessId>,
        now_ns: u64,
        issued: bool,
    ) -> Recorded {
        let Some(key) = key_of(ticket) else {
            return Recorded::default();
        };
        self.last_service.put(key, service);
        self.make_space(service, key);
        let lost = self.evicted_for_others > 0;
        let keys = self
            .services
            .get_or_insert_mut(service, || ServiceKeys::new(lost));
        keys.serial += 1;
        keys.issued += u64::from(issued);
        let serial = keys.serial;
        let is_new = !keys.used.contains(&key);
        if is_new {
            keys.newest = Some(key);
            keys.begun += 1;
            keys.new_keys += u64::from(issued);
            self.count += 1;
        }
        let ordinal = keys.begun;
        // A key whose tickets are only accepted may be an older one.
        let rotated = is_new
            && issued
            && process.is_some_and(|process| {
                keys.used
                    .iter()
                    .any(|(_, other)| other.was_used_by(process))
            });
        let used = keys.used.get_or_insert_mut(key, || KeyUse {
            ordinal,
            first_ticket: ticket.hash,
            confirmed: false,
            accepted: false,
            first_ns: now_ns,
            first_serial: serial,
            last_serial: serial,
            rotated,
            users: [None; MAX_USERS],
        });
        let was_shared = used.is_for_several_connections();
        used.accepted |= !issued;
        used.confirmed |= used.first_ticket != ticket.hash;
        used.last_serial = serial;
        if let Some(process) = process {
            let found = used.users.iter().position(|user| *user == Some(process));
            let end = found.unwrap_or(MAX_USERS - 1);
            used.users[..=end].rotate_right(1);
            used.users[0] = Some(process);
        }
        let begins = used.rotated && used.is_for_several_connections() && !was_shared;
        Recorded {
            confirmed: used.confirmed,
            rotated_ns: begins.then_some(used.first_ns),
        }
    }

    /// Evicts a key of this service, or of the least recently used one, if there is no free entry
    /// for `key`.
    fn make_space(&mut self, service: ServiceId, key: KeyName) {
        if let Some(keys) = self.services.get_mut(&service) {
            if keys.used.contains(&key) {
                return;
            }
            if keys.used.len() >= MAX_KEYS_PER_SERVICE {
                keys.used.pop_lru();
                keys.lost_any = true;
                self.count -= 1;
                self.evicted += 1;
                return;
            }
        }
        if self.count < MAX_KEYS.get() {
            return;
        }
        let Some((oldest, mut keys)) = self.services.pop_lru() else {
            return;
        };
        if keys.used.pop_lru().is_some() {
            self.count -= 1;
            self.evicted += 1;
            self.evicted_for_others += 1;
        }
        if !keys.used.is_empty() {
            (keys.lost_any, keys.lost_to_others) = (true, true);
            self.services.put(oldest, keys);
            self.services.demote(&oldest);
        }
    }

    pub(super) fn get(&self, service: ServiceId, key: KeyName) -> Option<KeyUse> {
        self.services.peek(&service)?.used.peek(&key).copied()
    }

    /// Keys that the service has begun to use since it began to use this one.
    pub(super) fn newer(&self, service: ServiceId, key: KeyName) -> Option<u64> {
        let keys = self.services.peek(&service)?;
        let used = keys.used.peek(&key)?;
        Some(keys.begun - used.ordinal)
    }

    /// The service that used this key last.
    pub(super) fn last_service(&self, key: KeyName) -> Option<ServiceId> {
        self.last_service.peek(&key).copied()
    }

    /// Whether the whole service has stopped using this key, and this process uses a newer one,
    /// since at least `uses` uses of keys.
    pub(super) fn is_replaced(
        &self,
        service: ServiceId,
        used: &KeyUse,
        process: ProcessId,
        uses: u64,
    ) -> bool {
        let Some(keys) = self.services.peek(&service) else {
            return false;
        };
        let newest = keys.newest.and_then(|key| self.get(service, key));
        newest.is_some_and(|newest| {
            newest.first_serial > used.last_serial && newest.was_used_by(process)
        }) && keys.serial - used.last_serial >= uses
    }

    /// Whether the service uses exactly one key, and has used it since `since_ns`.
    pub(super) fn has_one_key_since(&self, service: ServiceId, since_ns: u64) -> bool {
        let Some(keys) = self.services.peek(&service) else {
            return false;
        };
        let mut keys = keys.used.iter();
        let only = keys.next().filter(|(_, used)| used.first_ns <= since_ns);
        only.is_some() && keys.next().is_none()
    }

    /// Whether nearly every ticket that the service issues has a key of its own. Each of its
    /// processes may have one key, so that their number decides how many tickets show it.
    pub(super) fn are_per_connection(&self, service: ServiceId, processes: u32) -> bool {
        let enough = MIN_ISSUED.max(MIN_ISSUED_PER_PROCESS * u64::from(processes));
        let keys = self.services.peek(&service);
        keys.is_some_and(|keys| {
            !keys.lost_to_others && keys.issued >= enough && keys.new_keys * 10 >= keys.issued * 8
        })
    }

    /// Whether two processes used one key.
    pub(super) fn are_shared(&self, service: ServiceId) -> bool {
        let keys = self.services.peek(&service);
        keys.is_some_and(|keys| keys.used.iter().any(|(_, used)| used.users().count() > 1))
    }

    /// Whether some keys of the service may have been evicted.
    pub(super) fn lost_any(&self, service: ServiceId) -> bool {
        let keys = self.services.peek(&service);
        keys.map_or(self.evicted_for_others > 0, |keys| keys.lost_any)
    }

    /// Keys evicted because the table, or the share of their service, was full.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }
}
