//! Names of the keys of offered tickets that nobody here issued. Tickets of another node's service
//! share a few keys; each invented ticket has a key name of its own.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::client::ClientKey;
use crate::model::KeyName;

/// Key names; the least recently offered is evicted.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The first client that offered a ticket under each key to a service.
#[derive(Debug)]
pub(super) struct ForeignKeys(LruCache<(u32, KeyName), ClientKey>);

impl ForeignKeys {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_KEYS))
    }

    /// Whether another client offered a ticket under this key to the service before.
    pub(super) fn is_shared(&mut self, service: u32, key: KeyName, client: ClientKey) -> bool {
        let first = self.0.get_or_insert((service, key), || client);
        *first != client
    }
}
