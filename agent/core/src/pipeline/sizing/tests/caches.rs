//! Caches that work as those of the servers do, one entry at a time.

use std::collections::{HashMap, HashSet, VecDeque};

/// Seconds, as all times here.
pub(super) type Time = f64;

/// A real cache.
pub(super) trait Cache {
    /// Whether it holds this session.
    fn has(&mut self, session: u64, now: Time) -> bool;
    fn store(&mut self, session: u64, now: Time);
    fn remove(&mut self, _session: u64) {}
}

/// HAProxy's, nginx's and OpenSSL's: the session that was stored first is evicted.
pub(super) struct Fifo {
    pub(super) size: usize,
    pub(super) lifetime: Time,
    order: VecDeque<u64>,
    stored: HashMap<u64, Time>,
    removed: HashSet<u64>,
}

impl Fifo {
    pub(super) fn new(size: usize, lifetime: Time) -> Self {
        Self {
            size,
            lifetime,
            order: VecDeque::new(),
            stored: HashMap::new(),
            removed: HashSet::new(),
        }
    }
}

impl Cache for Fifo {
    fn has(&mut self, session: u64, now: Time) -> bool {
        let stored = self.stored.get(&session);
        stored.is_some_and(|stored| now - stored <= self.lifetime)
            && !self.removed.contains(&session)
    }

    fn store(&mut self, session: u64, now: Time) {
        self.order.push_back(session);
        self.stored.insert(session, now);
        while self.order.len() > self.size {
            let oldest = self.order.pop_front().unwrap();
            self.stored.remove(&oldest);
            self.removed.remove(&oldest);
        }
    }

    fn remove(&mut self, session: u64) {
        self.removed.insert(session);
    }
}

/// Caches of two processes, each of which serves about half of the connections.
pub(super) struct PerProcess {
    caches: [Fifo; 2],
    connections: u64,
}

impl PerProcess {
    pub(super) fn new(size: usize, lifetime: Time) -> Self {
        Self {
            caches: [Fifo::new(size, lifetime), Fifo::new(size, lifetime)],
            connections: 0,
        }
    }

    fn process(&mut self) -> &mut Fifo {
        let mixed = self.connections.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &mut self.caches[(mixed >> 63) as usize]
    }
}

impl Cache for PerProcess {
    fn has(&mut self, session: u64, now: Time) -> bool {
        self.connections += 1;
        self.process().has(session, now)
    }

    fn store(&mut self, session: u64, now: Time) {
        self.process().store(session, now);
    }
}

/// Apache's shmcb: 32 caches, one of which the first byte of the session's ID selects.
pub(super) struct Shmcb(Vec<Fifo>);

impl Shmcb {
    pub(super) fn new(size: usize, lifetime: Time) -> Self {
        Self((0..32).map(|_| Fifo::new(size / 32, lifetime)).collect())
    }
}

impl Cache for Shmcb {
    fn has(&mut self, session: u64, now: Time) -> bool {
        self.0[(session % 32) as usize].has(session, now)
    }

    fn store(&mut self, session: u64, now: Time) {
        self.0[(session % 32) as usize].store(session, now);
    }
}
