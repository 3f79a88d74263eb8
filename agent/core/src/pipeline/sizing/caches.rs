//! The simulated caches.

use super::grid::{LIFETIMES_S, PRESENT, ROWS, SIZES, TICKS, UNIT, column};

/// Minimum number of sampled offers for a hit ratio: its standard error is then at most 2.5 points.
const MIN_SAMPLES: u32 = 400;
const COLUMNS: usize = SIZES.len();
/// Weight of offers at which all sums are halved, so that they cannot overflow.
const MAX_OFFERS: u32 = 1 << 31;

/// Sizes in units of weight.
const WEIGHED_SIZES: [u32; COLUMNS] = {
    let mut sizes = SIZES;
    let mut at = 0;
    while at < COLUMNS {
        sizes[at] *= UNIT;
        at += 1;
    }
    sizes
};

/// Caches of one lifetime.
#[derive(Debug, Clone)]
struct Row {
    lifetime: u32,
    /// Time at which it began to have this lifetime.
    since: u32,
    /// Weight of the sessions that each cache stored; wraps.
    stores: [u32; COLUMNS],
    /// Weight of the offers that hit each cache.
    hits: [u32; COLUMNS],
    /// Weight of all offers.
    offers: u32,
    /// Weight of the offers that hit the real cache.
    reached: u32,
    /// Offers without their weight.
    samples: u32,
    /// Whether a lifetime has passed: before that no session can expire, so earlier offers are
    /// excluded.
    warm: bool,
}

/// Last store of one lineage in each cache.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// `Row::stores` right after it.
    store: [[u32; COLUMNS]; ROWS],
    time: [[u32; COLUMNS]; ROWS],
}

/// An offer of a lineage to all caches.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheOffer {
    pub(super) now: u32,
    pub(super) weight: u32,
    /// The real cache had it.
    pub(super) resumed: bool,
    /// The session was removed from the cache before, whatever its size.
    pub(super) removed: bool,
    /// Each handshake stores new sessions.
    pub(super) single_use: bool,
}

/// Sums of the offers to the caches of one lifetime.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RowEvidence {
    /// A lifetime has passed.
    pub(super) is_warm: bool,
    /// Offers since then.
    pub(super) samples: u32,
    /// Hit ratio of the real cache for the same offers.
    pub(super) reached: Option<f64>,
}

impl RowEvidence {
    /// Whether hit ratios can be computed from these offers.
    pub(super) const fn is_sufficient(&self) -> bool {
        self.is_warm && self.samples >= MIN_SAMPLES
    }
}

/// All simulated caches of one service.
#[derive(Debug, Clone)]
pub(super) struct Caches {
    rows: Box<[Row; ROWS]>,
}

impl Caches {
    pub(super) fn new() -> Self {
        let row = |at: usize| Row {
            lifetime: LIFETIMES_S.get(at).map_or(0, |seconds| seconds * TICKS),
            since: 0,
            stores: [0; COLUMNS],
            hits: [0; COLUMNS],
            offers: 0,
            reached: 0,
            samples: 0,
            warm: false,
        };
        Self {
            rows: Box::new(std::array::from_fn(row)),
        }
    }

    /// Changes the present lifetime; what is known of the former one is discarded.
    pub(super) fn set_present_lifetime(&mut self, now: u32, lifetime: u32) {
        let row = &mut self.rows[PRESENT];
        if row.lifetime != lifetime {
            row.lifetime = lifetime;
            row.since = now;
            row.warm = false;
            row.clear();
        }
    }

    /// The present lifetime, units of time; 0 where it is not known.
    pub(super) fn present_lifetime(&self) -> u32 {
        self.rows[PRESENT].lifetime
    }

    /// Stores the first sessions of a lineage, of this weight, the last of which is its own. A
    /// client that offered one, `offered`, has returned before: a part of the life of its session
    /// is over, which its hash selects. If all these sessions began now, all clients would miss at
    /// the same times.
    pub(super) fn admit(&mut self, now: u32, stores: u32, offered: Option<u64>) -> Box<Positions> {
        // The highest bits select the sample.
        let over = offered.map_or(0, |token| token & 0xffff);
        let part = |whole: u32| ((u64::from(whole) * over) >> 16) as u32;
        let rows = &mut self.rows;
        let mut positions = Box::new(Positions {
            store: [[0; COLUMNS]; ROWS],
            time: [[0; COLUMNS]; ROWS],
        });
        for (row, (store, time)) in rows
            .iter_mut()
            .zip(positions.store.iter_mut().zip(&mut positions.time))
        {
            for at in 0..COLUMNS {
                row.stores[at] = row.stores[at].wrapping_add(stores);
                store[at] = row.stores[at].wrapping_sub(part(WEIGHED_SIZES[at]));
            }
            *time = [now.wrapping_sub(part(row.lifetime)); COLUMNS];
        }
        positions
    }

    /// Offers a session of a lineage to all caches.
    pub(super) fn offer(&mut self, positions: &mut Positions, offer: &CacheOffer) {
        if self.rows[0].offers >= MAX_OFFERS {
            self.halve();
        }
        let rows = self.rows.iter_mut();
        for (row, (store, time)) in
            rows.zip(positions.store.iter_mut().zip(positions.time.iter_mut()))
        {
            if !row.warm && offer.now - row.since > row.lifetime {
                row.warm = true;
                row.clear();
            }
            row.offers = row.offers.saturating_add(offer.weight);
            row.reached += if offer.resumed { offer.weight } else { 0 };
            row.samples = row.samples.saturating_add(1);
            if offer.single_use {
                row.offer::<true>(store, time, offer);
            } else {
                row.offer::<false>(store, time, offer);
            }
        }
    }

    /// Halves all sums, so that older offers count less.
    pub(super) fn halve(&mut self) {
        for row in self.rows.iter_mut() {
            row.offers /= 2;
            row.reached /= 2;
            row.samples /= 2;
            for hits in &mut row.hits {
                *hits /= 2;
            }
        }
    }

    pub(super) fn evidence(&self, row: usize) -> RowEvidence {
        let row = &self.rows[row];
        let reached = f64::from(row.reached) / f64::from(row.offers);
        RowEvidence {
            is_warm: row.warm,
            samples: row.samples,
            reached: (row.offers > 0).then_some(reached),
        }
    }

    /// Expected hit ratio of a cache of this size in a row; `None` without offers.
    pub(super) fn ratio(&self, row: usize, size: f64) -> Option<f64> {
        let row = &self.rows[row];
        if row.offers == 0 {
            return None;
        }
        let (at, part) = column(size);
        let ratio = |at: usize| f64::from(row.hits[at]) / f64::from(row.offers);
        let next = ratio((at + 1).min(COLUMNS - 1));
        Some(ratio(at) + (next - ratio(at)) * part)
    }
}

impl Row {
    const fn clear(&mut self) {
        self.hits = [0; COLUMNS];
        self.offers = 0;
        self.reached = 0;
        self.samples = 0;
    }

    /// Written without branches, so that the compiler processes several caches at a time.
    fn offer<const SINGLE_USE: bool>(
        &mut self,
        store: &mut [u32; COLUMNS],
        time: &mut [u32; COLUMNS],
        offer: &CacheOffer,
    ) {
        let (weight, now, lifetime) = (offer.weight, offer.now, self.lifetime);
        let present = !offer.removed;
        for at in 0..COLUMNS {
            // Signed comparisons: the baseline of x86-64 has no unsigned ones for vectors.
            let distance = self.stores[at].wrapping_sub(store[at]).cast_signed();
            let near = distance < WEIGHED_SIZES[at].cast_signed();
            let young = now.wrapping_sub(time[at]).cast_signed() <= lifetime.cast_signed();
            let hit = near & young & present;
            self.hits[at] += if hit { weight } else { 0 };
            let on_hit = if SINGLE_USE { weight } else { 0 };
            let on_miss = if SINGLE_USE { 2 * weight } else { weight };
            let stored = if hit { on_hit } else { on_miss };
            self.stores[at] = self.stores[at].wrapping_add(stored);
            let kept = hit & !SINGLE_USE;
            store[at] = if kept { store[at] } else { self.stores[at] };
            time[at] = if kept { time[at] } else { now };
        }
    }
}

impl Positions {
    /// Time since the last store in the largest cache of a row.
    pub(super) const fn age(&self, row: usize, now: u32) -> u32 {
        now.wrapping_sub(self.time[row][COLUMNS - 1])
    }
}
