//! The sample of lineages.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
};

use lru::LruCache;

use super::{
    caches::{CacheOffer, Caches, Positions},
    grid::{TICKS, UNIT},
};

/// Lineages in the sample of one service.
pub const MAX_LINEAGES: usize = 1_024;
/// Sessions of other lineages that are remembered because their hash is below the threshold.
const MAX_OTHERS: NonZeroUsize = NonZeroUsize::new(4 * MAX_LINEAGES).unwrap();
/// Time without an offer after which a lineage may leave the sample: twice the longest lifetime.
const MAX_IDLE: u32 = 2 * 86_400 * TICKS;

/// One client's sequence of sessions.
#[derive(Debug)]
pub(super) struct Lineage {
    /// Hash of its first session.
    key: u64,
    /// Hashes of its session and of the one that was offered before.
    tokens: [u64; 2],
    /// Its session was removed from the cache.
    pub(super) removed: bool,
    last_seen: u32,
    /// Sessions that the real cache had stored right after it stored this one, and when.
    pub(super) stored_serial: u64,
    pub(super) stored_ns: u64,
    positions: Box<Positions>,
}

/// A session that the real cache stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) token: u64,
    pub(super) serial: u64,
    pub(super) time_ns: u64,
    /// Sessions that the same handshake stored.
    pub(super) count: u32,
}

/// Position of a lineage in the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// The sample of lineages of one service.
#[derive(Debug)]
pub(super) struct Lineages {
    slots: Vec<Option<Lineage>>,
    free: Vec<Slot>,
    by_key: BTreeMap<u64, Slot>,
    by_token: HashMap<u64, Slot>,
    /// Sessions below the threshold whose lineage is not in the sample.
    others: LruCache<u64, ()>,
    /// Lineages whose first session has a lower hash are in the sample.
    threshold: u64,
    /// Clients that each lineage represents, in eighths.
    weight: u32,
    swept: u32,
}

impl Lineages {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            by_token: HashMap::new(),
            others: LruCache::new(MAX_OTHERS),
            threshold: u64::MAX,
            weight: UNIT,
            swept: 0,
        }
    }

    /// Clients that each lineage represents, in eighths.
    pub(super) const fn weight(&self) -> u32 {
        self.weight
    }

    /// The lineage of a session that was offered, if it is in the sample.
    pub(super) fn find(&self, token: u64) -> Option<Slot> {
        self.by_token.get(&token).copied()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Lineage> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    /// All lineages in the sample.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lineage> {
        self.slots.iter().flatten()
    }

    /// Offers the session of a lineage to the simulated caches.
    pub(super) fn offer(&mut self, slot: Slot, caches: &mut Caches, offer: CacheOffer) {
        if let Some(lineage) = self.get_mut(slot) {
            lineage.last_seen = offer.now;
            caches.offer(&mut lineage.positions, &offer);
        }
    }

    /// Records that the session `offered` of a lineage was succeeded by another.
    pub(super) fn succeed(&mut self, slot: Slot, offered: u64, stored: Stored) {
        let Some(lineage) = self.get_mut(slot) else {
            return;
        };
        let before = std::mem::replace(&mut lineage.tokens, [stored.token, offered]);
        lineage.removed = false;
        lineage.stored_serial = stored.serial;
        lineage.stored_ns = stored.time_ns;
        for token in before {
            if token != offered {
                self.by_token.remove(&token);
            }
        }
        self.by_token.insert(offered, slot);
        self.by_token.insert(stored.token, slot);
    }

    /// Records a session whose lineage is not known, or that begins one: `offered` is what its
    /// client offered, `stored` what it received. Returns whether it is in the sample now.
    pub(super) fn begin(
        &mut self,
        offered: Option<u64>,
        stored: Stored,
        now: u32,
        caches: &mut Caches,
    ) -> bool {
        let key = match offered {
            // Not in the sample: an earlier session of its lineage decided that.
            Some(offered) if offered >= self.threshold || self.others.contains(&offered) => {
                if stored.token < self.threshold {
                    self.others.put(stored.token, ());
                }
                return false;
            }
            Some(offered) => offered,
            None => stored.token,
        };
        let admitted = key < self.threshold && !self.by_key.contains_key(&key);
        if admitted {
            self.admit(key, offered, stored, now, caches);
        }
        admitted
    }

    fn admit(
        &mut self,
        key: u64,
        offered: Option<u64>,
        stored: Stored,
        now: u32,
        caches: &mut Caches,
    ) {
        if self.by_key.len() >= MAX_LINEAGES {
            self.sweep(now);
        }
        let tokens = [stored.token, offered.unwrap_or(stored.token)];
        let lineage = Lineage {
            key,
            tokens,
            removed: false,
            last_seen: now,
            stored_serial: stored.serial,
            stored_ns: stored.time_ns,
            positions: caches.admit(now, stored.count * self.weight, offered),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() as u32 - 1)
        });
        self.slots[slot.0 as usize] = Some(lineage);
        self.by_key.insert(key, slot);
        for token in tokens {
            self.by_token.insert(token, slot);
        }
        while self.by_key.len() > MAX_LINEAGES {
            self.lower_threshold();
        }
    }

    /// Removes the lineage with the highest hash: from now on, none with such a hash is admitted.
    fn lower_threshold(&mut self) {
        let Some((key, slot)) = self.by_key.pop_last() else {
            return;
        };
        self.threshold = key;
        let weight = (u128::from(UNIT) << 64) / u128::from(key).max(1);
        self.weight = u32::try_from(weight).unwrap_or(u32::MAX).min(1 << 24);
        if let Some(token) = self.remove(slot)
            && token < key
        {
            self.others.put(token, ());
        }
    }

    /// Removes a lineage; returns the hash of its session.
    fn remove(&mut self, slot: Slot) -> Option<u64> {
        let lineage = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot);
        self.by_key.remove(&lineage.key);
        for token in lineage.tokens {
            self.by_token.remove(&token);
        }
        Some(lineage.tokens[0])
    }

    /// Removes the lineages that are idle, at most once an hour.
    fn sweep(&mut self, now: u32) {
        if now.wrapping_sub(self.swept) < 3_600 * TICKS {
            return;
        }
        self.swept = now;
        let is_idle = |lineage: &Lineage| now.wrapping_sub(lineage.last_seen) > MAX_IDLE;
        let slots = self.by_key.values().copied();
        let idle: Vec<_> = slots
            .filter(|slot| {
                let lineage = self.slots[slot.0 as usize].as_ref();
                lineage.is_some_and(is_idle)
            })
            .collect();
        for slot in idle {
            self.remove(slot);
        }
    }

    /// Whether lineages left the sample because there were too many.
    pub(super) const fn is_thinned(&self) -> bool {
        self.threshold < u64::MAX
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Upper bound of its memory, bytes: entries of a map have up to twice their size.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let tokens = self.by_token.capacity() * 2 * size_of::<(u64, Slot)>();
        let keys = MAX_LINEAGES * 2 * size_of::<(u64, Slot)>();
        let others = MAX_OTHERS.get() * 2 * size_of::<[u64; 4]>();
        let slots = self.slots.capacity() * size_of::<Option<Lineage>>();
        tokens + keys + others + slots + MAX_LINEAGES * size_of::<Positions>()
    }
}

impl Lineage {
    /// Time since the last store in the largest cache of a row.
    pub(super) const fn age(&self, row: usize, now: u32) -> u32 {
        self.positions.age(row, now)
    }
}
