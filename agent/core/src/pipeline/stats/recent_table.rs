//! A bounded table of sums: the most recently used keys have sums of their own, and the sums of all
//! others are added up. An evicted entry keeps its share of the total.

use std::{hash::Hash, num::NonZeroUsize};

use enum_map::EnumArray;
use lru::LruCache;

use super::{by_role::ByRole, merge::Merge};
use crate::model::Role;

/// A key that belongs to one role.
pub(super) trait HasRole {
    /// Role of the observed process.
    fn role(&self) -> Role;
}

/// Sums of the entries without sums of their own.
pub(super) trait Remainder<K, V> {
    /// Adds the sums of an evicted entry.
    fn add(&mut self, key: &K, sums: &V);
}

impl<K: HasRole, V: Merge> Remainder<K, V> for ByRole<V>
where
    Role: EnumArray<V>,
{
    fn add(&mut self, key: &K, sums: &V) {
        self[key.role()].merge(sums);
    }
}

/// One remainder for keys of every role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Single<V>(pub(super) V);

impl<K, V: Merge> Remainder<K, V> for Single<V> {
    fn add(&mut self, _: &K, sums: &V) {
        self.0.merge(sums);
    }
}

/// The table; `R` is the remainder.
#[derive(Debug)]
pub(super) struct RecentTable<K: Hash + Eq, V, R> {
    named: LruCache<K, V>,
    other: R,
    evicted: u64,
}

impl<K: Hash + Eq, V: Default, R: Default + Remainder<K, V>> RecentTable<K, V, R> {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self {
            named: LruCache::new(capacity),
            other: R::default(),
            evicted: 0,
        }
    }

    /// The sums of `key`. A new key evicts the least recently used one from a full table.
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        if self.is_full()
            && !self.named.contains(&key)
            && let Some((oldest, sums)) = self.named.pop_lru()
        {
            self.other.add(&oldest, &sums);
            self.evicted += 1;
        }
        self.named.get_or_insert_mut(key, V::default)
    }

    /// The sums of `key`, or of the remainder if the table is full and has no such key.
    pub(super) fn existing_or_free(&mut self, key: K) -> Result<&mut V, &mut R> {
        if self.is_full() && !self.named.contains(&key) {
            Err(&mut self.other)
        } else {
            Ok(self.named.get_or_insert_mut(key, V::default))
        }
    }

    fn is_full(&self) -> bool {
        self.named.len() == self.named.cap().get()
    }
}

impl<K: Hash + Eq, V, R> RecentTable<K, V, R> {
    /// The sums of `key`, without marking it as used.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.named.peek(key)
    }

    /// Keys with their sums, in the order of the keys.
    pub(super) fn sorted(&self) -> Vec<(&K, &V)>
    where
        K: Ord,
    {
        let mut named: Vec<_> = self.named.iter().collect();
        named.sort_unstable_by_key(|(key, _)| *key);
        named
    }

    /// Removes the least recently used keys to which `is_gone` applies, up to the first to which it
    /// does not; returns their number.
    pub(super) fn remove_oldest(&mut self, is_gone: impl Fn(&V) -> bool) -> u64 {
        let mut removed = 0;
        while self.named.peek_lru().is_some_and(|(_, sums)| is_gone(sums)) {
            self.named.pop_lru();
            removed += 1;
        }
        removed
    }

    pub(super) const fn other(&self) -> &R {
        &self.other
    }

    pub(super) const fn other_mut(&mut self) -> &mut R {
        &mut self.other
    }

    /// Keys evicted because the table was full.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn len(&self) -> usize {
        self.named.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = RecentTable<u8, u64, Single<u64>>;

    fn filled() -> Table {
        let mut table = Table::new(NonZeroUsize::new(2).unwrap());
        for key in [1, 2, 1] {
            *table.entry(key) += 1;
        }
        table
    }

    #[test]
    fn the_least_recently_used_key_is_evicted_and_the_total_remains() {
        let mut table = filled();
        *table.entry(3) += 1;
        assert_eq!(table.sorted(), [(&1, &2), (&3, &1)]);
        assert_eq!((table.other().0, table.evicted(), table.len()), (1, 1, 2));
    }

    #[test]
    fn a_full_table_can_refuse_new_keys() {
        let mut table = filled();
        assert!(table.existing_or_free(2).is_ok());
        assert!(table.existing_or_free(3).is_err());
        assert_eq!((table.evicted(), table.get(&3)), (0, None));
    }
}
