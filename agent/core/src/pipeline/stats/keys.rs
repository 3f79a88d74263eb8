//! Offered tickets by the key that encrypts them. A key has sums of its own after a server here has
//! accepted a ticket under it, so that invented key names cannot evict real ones.

use std::num::NonZeroUsize;

use super::{
    outcomes::Outcomes,
    recent_table::{RecentTable, Single},
};
use crate::model::KeyName;

/// Keys with sums of their own.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// Sums of the most recently offered accepted keys; those of the others are added up.
#[derive(Debug)]
pub struct TicketKeys(RecentTable<KeyName, Outcomes, Single<Outcomes>>);

impl TicketKeys {
    pub(super) fn new() -> Self {
        Self(RecentTable::new(MAX_KEYS))
    }

    /// Adds an offered ticket.
    pub fn add(&mut self, key: KeyName, accepted: bool) {
        if accepted {
            self.0.entry(key).accepted += 1;
        } else if self.0.get(&key).is_some() {
            self.0.entry(key).missed += 1;
        } else {
            self.0.other_mut().0.missed += 1;
        }
    }

    /// Keys with sums of their own, in order.
    #[must_use]
    pub fn named(&self) -> Vec<(&KeyName, &Outcomes)> {
        self.0.sorted()
    }

    /// Keys evicted because the table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    /// Sums of the other keys.
    #[must_use]
    pub const fn other(&self) -> Outcomes {
        self.0.other().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> KeyName {
        KeyName::new(number + 1).unwrap()
    }

    #[test]
    fn the_key_unused_for_longest_is_summed_as_other() {
        let mut keys = TicketKeys::new();
        for number in 0..32 {
            keys.add(key(number), true);
        }
        keys.add(key(0), false);
        keys.add(key(99), true);
        let one_each = Outcomes {
            accepted: 1,
            missed: 1,
            failed: 0,
        };
        assert_eq!((keys.other().accepted, keys.other().missed), (1, 0));
        let named = keys.named();
        assert_eq!((named.len(), named[0]), (32, (&key(0), &one_each)));
        assert!(!named.iter().any(|(name, _)| **name == key(1)));
    }

    #[test]
    fn keys_without_an_accepted_ticket_are_summed_as_other() {
        let mut keys = TicketKeys::new();
        keys.add(key(0), true);
        for number in 1..1_000 {
            keys.add(key(number), false);
        }
        assert_eq!((keys.named().len(), keys.other().missed), (1, 999));
    }
}
