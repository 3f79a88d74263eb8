//! A bounded map that forgets by age, in two generations: an insertion needs no list of all entries
//! in the order of their use, and touches one place in memory.

use std::{collections::HashMap, mem};

use lru::DefaultHasher;

use super::fingerprint::Fingerprint;

/// The map. The newest `max` entries are always in it, and never more than twice as many.
#[derive(Debug)]
pub(super) struct AgingMap<V> {
    young: HashMap<Fingerprint, V, DefaultHasher>,
    old: HashMap<Fingerprint, V, DefaultHasher>,
    max: usize,
}

impl<V> AgingMap<V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            max,
        }
    }

    /// Adds an entry; returns the former one of the same key.
    pub(super) fn put(&mut self, key: Fingerprint, value: V) -> Option<V> {
        let former = self.remove(key);
        if self.young.len() >= self.max {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
        former
    }

    pub(super) fn get(&self, key: Fingerprint) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    pub(super) fn get_mut(&mut self, key: Fingerprint) -> Option<&mut V> {
        self.young.get_mut(&key).or_else(|| self.old.get_mut(&key))
    }

    pub(super) fn remove(&mut self, key: Fingerprint) -> Option<V> {
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::correlate::fingerprint::Fingerprints;

    #[test]
    fn the_newest_entries_are_kept_and_the_oldest_forgotten() {
        let keys = Fingerprints::default();
        let mut map = AgingMap::new(4);
        for number in 0..100 {
            assert_eq!(map.put(keys.of(&number), number), None);
            for newest in (number - 3).max(0)..=number {
                assert_eq!(map.get(keys.of(&newest)), Some(&newest));
            }
            assert!(map.young.len() + map.old.len() <= 8);
        }
        assert_eq!(map.get(keys.of(&0)), None);
    }

    #[test]
    fn an_entry_of_either_generation_is_replaced_and_removed() {
        let keys = Fingerprints::default();
        let [a, b, c] = [keys.of(&"a"), keys.of(&"b"), keys.of(&"c")];
        let mut map = AgingMap::new(1);
        map.put(a, 1);
        assert_eq!(map.put(a, 2), Some(1), "in a full generation");
        map.put(b, 3);
        assert_eq!(map.get_mut(a), Some(&mut 2));
        assert_eq!(map.put(a, 4), Some(2), "in the older one");
        assert_eq!(
            (map.remove(b), map.remove(a), map.remove(c)),
            (Some(3), Some(4), None)
        );
        assert!(map.young.is_empty() && map.old.is_empty());
    }
}
