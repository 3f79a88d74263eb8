//! Offered tickets by the key that they are encrypted under: the most recently offered ones, the others as one sum.

use std::num::NonZeroUsize;

use lru::LruCache;

/// Keys shown by name.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// See the module. Sums are: accepted, missed.
#[derive(Debug)]
pub struct TicketKeys {
    named: LruCache<u32, [u64; 2]>,
    other: [u64; 2],
}

impl TicketKeys {
    pub(super) fn new() -> Self {
        Self {
            named: LruCache::new(MAX_KEYS),
            other: [0; 2],
        }
    }

    /// A ticket under this key was offered.
    pub fn add(&mut self, key: u32, accepted: bool) {
        if !self.named.contains(&key)
            && self.named.len() == MAX_KEYS.get()
            && let Some((_, sums)) = self.named.pop_lru()
        {
            for (mine, theirs) in self.other.iter_mut().zip(sums) {
                *mine += theirs;
            }
        }
        self.named.get_or_insert_mut(key, Default::default)[usize::from(!accepted)] += 1;
    }

    /// Keys by name, least first.
    #[must_use]
    pub fn named(&self) -> Vec<(u32, [u64; 2])> {
        let mut keys: Vec<_> = self.named.iter().map(|(key, sums)| (*key, *sums)).collect();
        keys.sort_unstable();
        keys
    }

    /// Sums of the others.
    #[must_use]
    pub const fn other(&self) -> [u64; 2] {
        self.other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_unused_for_longest_goes_to_other() {
        let mut keys = TicketKeys::new();
        for key in 0..32 {
            keys.add(key, true);
        }
        keys.add(0, false);
        keys.add(99, false);
        assert_eq!(keys.other(), [1, 0]);
        let named = keys.named();
        assert_eq!((named.len(), named[0]), (32, (0, [1, 1])));
        assert!(!named.iter().any(|(key, _)| *key == 1));
    }
}
