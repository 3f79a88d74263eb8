//! Fingerprints of keys, for tables in which a whole key would take most of the memory.

use std::hash::{BuildHasher as _, Hash, RandomState};

/// A key's 64-bit keyed hash. Two of 65,536 keys share one once in ten billion times, and nobody
/// outside this process can choose keys that do: the hash's own key is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64);

/// Maker of the fingerprints of one table.
#[derive(Debug, Default)]
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    /// The fingerprint of `key`.
    pub(super) fn of(&self, key: &impl Hash) -> Fingerprint {
        Fingerprint(self.0.hash_one(key))
    }
}
