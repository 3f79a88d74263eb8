//! A bounded table of sums: the most frequently used keys have sums of their own, and the sums of
//! all others are added up (W-TinyLFU). A new key enters a small window of recent keys. A key that
//! leaves the window replaces the least recently used key of the main part only if it was used more
//! often: keys that pass by, or a few too many that come in turn, do not evict those that return.

use std::hash::Hash;

use lru::LruCache;

use super::{frequency::Frequency, recent_table::Remainder};

/// Share of the table that is the window of recent keys: one in this many.
const WINDOW_SHARE: usize = 100;

/// The table; `R` is the remainder.
#[derive(Debug)]
pub(super) struct FrequentTable<K: Hash + Eq, V, R> {
    recent: LruCache<K, V>,
    max_recent: usize,
    main: LruCache<K, V>,
    max_main: usize,
    frequency: Frequency,
    other: R,
    evicted: u64,
}

/// Sums of a key.
pub(super) struct Entry<'a, V> {
    pub(super) sums: &'a mut V,
    /// The key had no sums before.
    pub(super) is_new: bool,
    /// A key was evicted for it.
    pub(super) evicted_another: bool,
}

impl<K: Hash + Eq, V: Default, R: Default + Remainder<K, V>> FrequentTable<K, V, R> {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let max_recent = (capacity / WINDOW_SHARE).max(1);
        Self {
            recent: LruCache::unbounded(),
            max_recent,
            main: LruCache::unbounded(),
            max_main: capacity - max_recent,
            frequency: Frequency::new(capacity),
            other: R::default(),
            evicted: 0,
        }
    }

    /// The sums of `key`. A new key evicts another one from a full table.
    pub(super) fn entry(&mut self, key: K) -> Entry<'_, V> {
        self.frequency.count(&key);
        if self.main.contains(&key) {
            return Entry {
                sums: self.main.get_or_insert_mut(key, V::default),
                is_new: false,
                evicted_another: false,
            };
        }
        let is_new = !self.recent.contains(&key);
        let evicted = self.evicted;
        if is_new && self.recent.len() >= self.max_recent {
            self.move_from_window();
        }
        Entry {
            sums: self.recent.get_or_insert_mut(key, V::default),
            is_new,
            evicted_another: self.evicted > evicted,
        }
    }

    /// Moves the least recently used key of the window to the main part, or evicts it.
    fn move_from_window(&mut self) {
        let Some((key, sums)) = self.recent.pop_lru() else {
            return;
        };
        if self.main.len() < self.max_main {
            self.main.put(key, sums);
            return;
        }
        // Where all keys come in turn, this one has been counted and the oldest comes next.
        let uses = self.frequency.estimate(&key);
        let is_admitted = self
            .main
            .peek_lru()
            .is_some_and(|(oldest, _)| uses > self.frequency.estimate(oldest) + 1);
        if is_admitted && let Some((oldest, oldest_sums)) = self.main.pop_lru() {
            self.main.put(key, sums);
            self.evict(&oldest, &oldest_sums);
        } else {
            self.evict(&key, &sums);
        }
    }

    fn evict(&mut self, key: &K, sums: &V) {
        self.other.add(key, sums);
        self.evicted += 1;
    }
}

impl<K: Hash + Eq, V, R> FrequentTable<K, V, R> {
    /// The sums of `key`, without marking it as used.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.recent.peek(key).or_else(|| self.main.peek(key))
    }

    /// Keys with their sums: those of the window first, each part from the most recently used.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.recent.iter().chain(&self.main)
    }

    /// As [`Self::iter`], to change the sums.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.recent.iter_mut().chain(&mut self.main)
    }

    /// Removes the least recently used keys of each part to which `is_gone` applies, up to the
    /// first to which it does not; returns their number.
    pub(super) fn remove_oldest(&mut self, is_gone: impl Fn(&V) -> bool) -> u64 {
        let mut removed = 0;
        for part in [&mut self.recent, &mut self.main] {
            while part.peek_lru().is_some_and(|(_, sums)| is_gone(sums)) {
                part.pop_lru();
                removed += 1;
            }
        }
        removed
    }

    pub(super) const fn other(&self) -> &R {
        &self.other
    }

    /// Keys evicted because the table was full.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.main.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::recent_table::Single, *};

    type Table = FrequentTable<u32, u64, Single<u64>>;

    fn visit(table: &mut Table, key: u32) {
        *table.entry(key).sums += 1;
    }

    fn total(table: &Table) -> u64 {
        table.iter().map(|(_, sums)| sums).sum::<u64>() + table.other.0
    }

    #[test]
    fn keys_that_return_in_turn_keep_their_sums_though_some_too_many() {
        let mut table = Table::new(1_000);
        for _ in 0..50 {
            (0..1_030).for_each(|key| visit(&mut table, key));
        }
        let whole = table.iter().filter(|(_, sums)| **sums == 50).count();
        assert!(whole >= 980, "{whole}");
        assert_eq!((table.len(), total(&table)), (1_000, 50 * 1_030));
    }

    #[test]
    fn keys_that_pass_by_do_not_evict_regular_ones() {
        let mut table = Table::new(100);
        let mut passing = 1_000;
        for _ in 0..200 {
            for key in 0..90 {
                visit(&mut table, key);
                passing += 1;
                visit(&mut table, passing);
            }
        }
        let regular = (0..90).filter(|key| table.get(key).is_some_and(|sums| *sums >= 180));
        assert!(regular.clone().count() >= 85, "{}", regular.count());
        assert_eq!(total(&table), 2 * 200 * 90);
    }

    #[test]
    fn new_regular_keys_replace_those_that_stay_away() {
        let mut table = Table::new(100);
        for _ in 0..50 {
            (0..100).for_each(|key| visit(&mut table, key));
        }
        for _ in 0..100 {
            (500..580).for_each(|key| visit(&mut table, key));
        }
        let named = (500..580).filter(|key| table.get(key).is_some()).count();
        assert!(named >= 75, "{named}");
    }

    #[test]
    fn a_table_of_one_key_has_the_newest() {
        let mut table = Table::new(1);
        for key in [1, 1, 2] {
            visit(&mut table, key);
        }
        assert_eq!(
            (table.get(&2), table.len(), table.other.0),
            (Some(&1), 1, 2)
        );
    }
}
