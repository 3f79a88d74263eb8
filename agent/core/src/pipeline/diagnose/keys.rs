//! Ticket keys by service: which it was seen to use, by taking a ticket under it or giving one, and when.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::model::{KeyName, ServiceId};

/// Keys remembered over all services; the one that was unused for longest goes first.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// When a service used a key, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    first_ns: u64,
    last_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    used: LruCache<(ServiceId, KeyName), Used>,
    /// When each service began to use its newest key.
    newest: LruCache<ServiceId, u64>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            used: LruCache::new(MAX_KEYS),
            newest: LruCache::new(MAX_KEYS),
        }
    }

    /// The service used it.
    pub(super) fn note(&mut self, service: ServiceId, key: KeyName, now_ns: u64) {
        if let Some(used) = self.used.get_mut(&(service, key)) {
            used.last_ns = used.last_ns.max(now_ns);
            return;
        }
        let used = Used {
            first_ns: now_ns,
            last_ns: now_ns,
        };
        self.used.put((service, key), used);
        self.newest.put(service, used.first_ns);
    }

    /// When the service used this key.
    pub(super) fn of(&self, service: ServiceId, key: KeyName) -> Option<Used> {
        self.used.peek(&(service, key)).copied()
    }

    /// Whether the service has begun to use another key after it last used this one.
    pub(super) fn is_superseded(&self, service: ServiceId, used: Used) -> bool {
        self.newest
            .peek(&service)
            .is_some_and(|first_ns| *first_ns > used.last_ns)
    }

    pub(super) fn len(&self) -> usize {
        self.used.len()
    }
}
