//! The analysis of one service's cache.

use super::{
    caches::{CacheOffer, Caches, RowEvidence},
    capacity::{CacheSize, Capacity},
    coverage::Coverage,
    grid::{LIFETIMES_S, PRESENT, TICKS, UNIT, ticks},
    lineages::{Lineages, Slot, Stored},
    spread::{AGE_BOUNDS_S, DISTANCE_BOUNDS, Spread},
};

/// Time after which all sums that describe the present are halved, nanoseconds.
const HALF_LIFE_NS: u64 = 6 * 3_600_000_000_000;

/// A completed handshake of a service, as far as its cache is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handshake {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Hash of the offered session, if it is the name of a cache entry.
    pub offered: Option<u64>,
    /// Hash of the session that the server stored.
    pub stored: Option<u64>,
    /// It resumed the offered session.
    pub resumed: bool,
    /// Each session is used once, and each handshake stores new ones: TLS 1.3.
    pub single_use: bool,
    /// The session was missed for a reason that a larger cache may remove.
    pub may_be_evicted: bool,
    /// The session was missed because its cache ended with a process.
    pub restarted: bool,
    /// The session was missed for a reason that no size and no lifetime removes.
    pub other_cause: bool,
    /// Lifetime of the service's sessions, nanoseconds.
    pub lifetime_ns: Option<u64>,
}

/// Offers of cache entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Accepted offers.
    pub accepted: u64,
    /// Missed offers.
    pub missed: u64,
    /// Those that were missed for a reason that no size and no lifetime removes.
    pub missed_otherwise: u64,
    /// Offers in TLS 1.3.
    pub single_use: u64,
}

impl Sums {
    const fn add(&mut self, handshake: &Handshake) {
        if handshake.resumed {
            self.accepted += 1;
        } else {
            self.missed += 1;
            self.missed_otherwise += handshake.other_cause as u64;
        }
        self.single_use += handshake.single_use as u64;
    }

    const fn halve(&mut self) {
        self.accepted /= 2;
        self.missed /= 2;
        self.missed_otherwise /= 2;
        self.single_use /= 2;
    }
}

/// The analysis of one service's cache.
#[derive(Debug)]
pub struct Analysis {
    caches: Caches,
    lineages: Lineages,
    capacity: Capacity,
    coverage: Coverage,
    /// Handshakes that offer or store a session, and the number that the sample stands for.
    handshakes: f64,
    sampled_handshakes: f64,
    /// Sessions that the real cache stored.
    serial: u64,
    begin_ns: u64,
    halved_ns: u64,
    /// Begin of the real cache: it was empty.
    emptied_ns: u64,
    last_ns: u64,
    /// Offers to the real cache; older ones count less.
    pub sums: Sums,
    /// Ages of the offered sessions since they were stored, of all offers so far.
    pub ages: Spread,
    /// Distances of the offered sessions, of all offers so far.
    pub distances: Spread,
}

impl Analysis {
    /// An analysis without handshakes.
    #[must_use]
    pub fn new(begin_ns: u64) -> Self {
        Self {
            caches: Caches::new(),
            lineages: Lineages::new(),
            capacity: Capacity::new(),
            coverage: Coverage::default(),
            handshakes: 0.0,
            sampled_handshakes: 0.0,
            serial: 0,
            begin_ns,
            halved_ns: begin_ns,
            emptied_ns: begin_ns,
            last_ns: begin_ns,
            sums: Sums::default(),
            ages: Spread::default(),
            distances: Spread::default(),
        }
    }

    /// Records a completed handshake.
    pub fn record(&mut self, handshake: &Handshake) {
        self.advance(handshake);
        let now = self.now();
        if handshake.offered.is_some() {
            self.sums.add(handshake);
        }
        if handshake.offered.is_some() || handshake.stored.is_some() {
            self.handshakes += 1.0;
        }
        let member = handshake
            .offered
            .and_then(|offered| Some((offered, self.lineages.find(offered)?)));
        if let Some((_, slot)) = member {
            self.sampled_handshakes += self.weight();
            self.describe(handshake, slot);
            let removed = self
                .lineages
                .get_mut(slot)
                .is_some_and(|lineage| std::mem::take(&mut lineage.removed));
            self.coverage.record(self.observed_ns(), true);
            let offer = CacheOffer {
                now,
                weight: self.lineages.weight(),
                resumed: handshake.resumed,
                removed,
                single_use: handshake.single_use,
            };
            self.lineages.offer(slot, &mut self.caches, offer);
        }
        let count = match (handshake.single_use, handshake.resumed) {
            (true, false) => 2,
            _ => 1,
        };
        let stored = match (handshake.stored, handshake.offered) {
            (Some(token), _) => {
                self.serial += u64::from(count);
                token
            }
            // Stored before the analysis began.
            (None, Some(offered)) if handshake.resumed && member.is_none() => offered,
            (None, _) => return,
        };
        let stored = Stored {
            token: stored,
            serial: self.serial,
            time_ns: handshake.time_ns,
            count,
        };
        match member {
            Some((offered, slot)) => self.lineages.succeed(slot, offered, stored),
            None => {
                let weight = self.weight();
                let admitted =
                    self.lineages
                        .begin(handshake.offered, stored, now, &mut self.caches);
                if admitted {
                    self.sampled_handshakes += weight;
                    if handshake.offered.is_some() {
                        self.coverage.record(self.observed_ns(), false);
                    }
                }
            }
        }
    }

    /// Records that a session was removed from the cache, as it would be from one of any size.
    pub fn remove(&mut self, token: u64) {
        if let Some(slot) = self.lineages.find(token)
            && let Some(lineage) = self.lineages.get_mut(slot)
        {
            lineage.removed = true;
        }
    }

    fn advance(&mut self, handshake: &Handshake) {
        self.last_ns = self.last_ns.max(handshake.time_ns);
        if let Some(lifetime_ns) = handshake.lifetime_ns {
            self.caches
                .set_present_lifetime(self.now(), ticks(lifetime_ns));
        }
        if self.last_ns.saturating_sub(self.halved_ns) >= HALF_LIFE_NS {
            self.halved_ns = self.last_ns;
            self.caches.halve();
            self.capacity.halve();
            self.handshakes /= 2.0;
            self.sampled_handshakes /= 2.0;
            self.sums.halve();
        }
    }

    /// Adds the age and distance of an offered session.
    fn describe(&mut self, handshake: &Handshake, slot: Slot) {
        let weight = self.lineages.weight();
        let Some(lineage) = self.lineages.get_mut(slot) else {
            return;
        };
        let (serial, stored_ns) = (lineage.stored_serial, lineage.stored_ns);
        let removed = lineage.removed;
        let distance = self.serial.saturating_sub(serial);
        let age_ns = handshake.time_ns.saturating_sub(stored_ns);
        self.ages.add(&AGE_BOUNDS_S, age_ns as f64 / 1e9, weight);
        self.distances
            .add(&DISTANCE_BOUNDS, distance as f64, weight);
        if handshake.restarted && stored_ns >= self.emptied_ns {
            self.emptied_ns = handshake.time_ns;
            self.capacity = Capacity::new();
            self.sums = Sums::default();
        }
        if removed || stored_ns < self.emptied_ns {
            return;
        }
        if handshake.resumed {
            self.capacity.accept(distance, weight);
        } else if handshake.may_be_evicted {
            self.capacity.evict(distance, weight);
        }
    }

    /// Clients that each lineage represents.
    fn weight(&self) -> f64 {
        f64::from(self.lineages.weight()) / f64::from(UNIT)
    }

    /// Time since the analysis began, units of the grid.
    fn now(&self) -> u32 {
        ticks(self.last_ns.saturating_sub(self.begin_ns))
    }

    /// Time since the analysis began, nanoseconds.
    #[must_use]
    pub const fn observed_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.begin_ns)
    }

    /// Time that the offers to the real cache cover, nanoseconds, with those that count less.
    #[must_use]
    pub fn counted_ns(&self) -> u64 {
        let since_halved = self.last_ns.saturating_sub(self.halved_ns);
        let before = self.halved_ns.saturating_sub(self.begin_ns);
        let begin_ns = self.begin_ns.max(self.emptied_ns);
        let counted = since_halved.saturating_add(before.min(HALF_LIFE_NS));
        counted.min(self.last_ns.saturating_sub(begin_ns))
    }

    /// Lifetime of the service's sessions, seconds.
    #[must_use]
    pub fn lifetime_s(&self) -> Option<u32> {
        let lifetime = self.caches.present_lifetime();
        (lifetime > 0).then_some(lifetime / TICKS)
    }

    /// Size of the real cache, sessions, where offers show it: an estimate and whether the cache
    /// may be larger.
    #[must_use]
    pub fn cache_size(&self) -> Option<(f64, bool)> {
        match self.capacity.size() {
            CacheSize::Unknown => None,
            CacheSize::AtLeast(size) => Some((size, true)),
            CacheSize::About(size) => Some((size, false)),
        }
    }

    /// Sessions alive: those that an unlimited cache would hold with the present lifetime.
    #[must_use]
    pub fn alive(&self) -> u64 {
        let (now, lifetime) = (self.now(), self.caches.present_lifetime());
        let (row, lifetime) = if lifetime > 0 {
            (PRESENT, lifetime)
        } else {
            let last = LIFETIMES_S.len() - 1;
            (last, LIFETIMES_S[last] * TICKS)
        };
        let alive = self
            .lineages
            .iter()
            .filter(|lineage| !lineage.removed && lineage.age(row, now) <= lifetime);
        (alive.count() as f64 * self.weight()) as u64
    }

    /// Expected hit ratio of a cache of this size with this lifetime; `None` without offers, or for
    /// a lifetime that no simulated cache has.
    #[must_use]
    pub fn expected(&self, size: f64, lifetime_s: u32) -> Option<f64> {
        let row = if Some(lifetime_s) == self.lifetime_s() {
            PRESENT
        } else {
            LIFETIMES_S.iter().position(|row| *row == lifetime_s)?
        };
        // As in SHARDS-adj: a sample whose clients return more often than the others fills the
        // simulated caches faster.
        let excess = if self.handshakes > 0.0 {
            self.sampled_handshakes / self.handshakes
        } else {
            1.0
        };
        self.caches.ratio(row, size * excess)
    }

    /// Hit ratio that the simulation gives for the present size and lifetime.
    pub(super) fn predicted(&self) -> Option<f64> {
        let (size, _) = self.cache_size()?;
        self.expected(size, self.lifetime_s()?)
    }

    /// What the offers to the caches of the present lifetime amount to.
    pub(super) fn present_row(&self) -> RowEvidence {
        self.caches.evidence(PRESENT)
    }

    /// The lifetimes of the grid for which the evidence suffices, seconds.
    pub(super) fn known_lifetimes(&self) -> impl Iterator<Item = u32> {
        let rows = LIFETIMES_S.into_iter().enumerate();
        rows.filter(|(row, _)| self.caches.evidence(*row).is_sufficient())
            .map(|(_, lifetime_s)| lifetime_s)
    }

    /// Whether sessions were resumed from the present cache.
    pub(super) fn has_accepted(&self) -> bool {
        self.capacity.has_accepted()
    }

    /// Whether no cache of a single size explains the offers.
    pub(super) fn is_contradictory(&self) -> bool {
        self.capacity.is_contradictory()
    }

    /// Share of the recent offers whose session was not known.
    pub(super) fn unknown_share(&self) -> Option<f64> {
        self.coverage.unknown_share()
    }

    /// Sessions that the real cache stored since the analysis began.
    #[must_use]
    pub const fn stored(&self) -> u64 {
        self.serial
    }

    /// Whether the analysis is a sample of the clients.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.lineages.is_thinned()
    }

    /// Lineages in the sample.
    #[must_use]
    pub fn lineages(&self) -> usize {
        self.lineages.len()
    }

    /// Upper bound of its memory, bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.lineages.memory() + size_of::<Caches>() + size_of::<Capacity>()
    }
}
