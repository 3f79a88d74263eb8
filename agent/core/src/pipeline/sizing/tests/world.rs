//! A server with its clients, in simulated time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    super::{Analysis, Handshake},
    caches::{Cache, Fifo, Time},
};

/// Maximum difference between a predicted hit ratio and that of a real cache.
pub(super) const TOLERANCE: f64 = 0.05;

/// Random numbers (splitmix64), the same in each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, up to 1.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }
}

/// How long clients stay away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Returns {
    Constant(Time),
    Exponential(Time),
    /// Pareto with shape 1.2 from this time on.
    HeavyTailed(Time),
    /// Thirds of the clients of the three kinds above.
    Mixed(Time),
}

impl Returns {
    pub(super) fn next(self, client: u64, random: &mut Random) -> Time {
        match self {
            // No clock of a client is exact.
            Self::Constant(mean) => mean * (0.99 + 0.02 * random.unit()),
            Self::Exponential(mean) => -mean * random.unit().ln(),
            Self::HeavyTailed(least) => least * random.unit().powf(-1.0 / 1.2),
            Self::Mixed(mean) => match client % 3 {
                0 => Self::Constant(mean / 4.0).next(client, random),
                1 => Self::Exponential(mean).next(client, random),
                _ => Self::HeavyTailed(mean / 6.0).next(client, random),
            },
        }
    }
}

/// One server with its clients.
pub(super) struct World {
    pub(super) clients: u64,
    pub(super) returns: Returns,
    pub(super) seconds: Time,
    /// Begin of the analysis.
    pub(super) observed_from: Time,
    /// Lifetime of the sessions of the cache that is analysed.
    pub(super) lifetime_s: u32,
    /// Sessions are missed for a reason that neither size nor lifetime removes.
    pub(super) other_cause: bool,
    /// Share of the connections after which the session is removed from the cache.
    pub(super) unclean: f64,
    pub(super) single_use: bool,
    pub(super) seed: u64,
}

impl World {
    pub(super) fn new(clients: u64, returns: Returns, seconds: Time) -> Self {
        Self {
            clients,
            returns,
            seconds,
            observed_from: seconds / 2.0,
            lifetime_s: 300,
            other_cause: false,
            unclean: 0.0,
            single_use: false,
            seed: 1,
        }
    }

    /// Runs the clients against a cache; returns its hit ratio since the analysis began.
    pub(super) fn run(&self, cache: &mut dyn Cache, mut analysis: Option<&mut Analysis>) -> f64 {
        let mut random = Random(self.seed);
        let mut sessions = vec![None; self.clients as usize];
        let mut stored_at = vec![0.0; self.clients as usize];
        let nanoseconds = |time: Time| (time * 1e9) as u64;
        let mut due: BinaryHeap<_> = (0..self.clients)
            .map(|client| {
                let first = self.returns.next(client, &mut random) * random.unit();
                Reverse((nanoseconds(first), client))
            })
            .collect();
        let (mut hits, mut offers) = (0.0, 0.0);
        while let Some(Reverse((time_ns, client))) = due.pop() {
            let now = time_ns as f64 / 1e9;
            if now > self.seconds {
                break;
            }
            let offered: Option<u64> = sessions[client as usize];
            let resumed = offered.is_some_and(|session| cache.has(session, now));
            let lifetime = f64::from(self.lifetime_s);
            let expired = stored_at[client as usize] + lifetime < now;
            let is_new = self.single_use || !resumed;
            let stored = is_new.then(|| random.next());
            if let (true, Some(offered)) = (resumed && self.single_use, offered) {
                cache.remove(offered);
            }
            if let Some(stored) = stored {
                if self.single_use && !resumed {
                    cache.store(random.next(), now);
                }
                cache.store(stored, now);
                sessions[client as usize] = Some(stored);
                stored_at[client as usize] = now;
            }
            if offered.is_some() && now > self.observed_from {
                offers += 1.0;
                hits += f64::from(u8::from(resumed));
            }
            if let Some(analysis) = &mut analysis
                && now > self.observed_from
            {
                analysis.record(&Handshake {
                    time_ns,
                    offered,
                    stored,
                    resumed,
                    single_use: self.single_use,
                    may_be_evicted: !expired,
                    restarted: false,
                    other_cause: self.other_cause && !resumed,
                    lifetime_ns: Some(u64::from(self.lifetime_s) * 1_000_000_000),
                });
            }
            if random.unit() <= self.unclean
                && let Some(session) = sessions[client as usize]
            {
                cache.remove(session);
                if let Some(analysis) = &mut analysis {
                    analysis.remove(session);
                }
            }
            let next = now + self.returns.next(client, &mut random);
            due.push(Reverse((nanoseconds(next), client)));
        }
        hits / offers
    }

    pub(super) fn begin(&self) -> Analysis {
        Analysis::new((self.observed_from * 1e9) as u64)
    }

    /// The analysis of a server whose cache is small and whose lifetime is short.
    pub(super) fn analyse(&self) -> Analysis {
        let mut analysis = self.begin();
        let mut cache = Fifo::new(128, f64::from(self.lifetime_s));
        self.run(&mut cache, Some(&mut analysis));
        analysis
    }

    pub(super) fn expect(
        &self,
        analysis: &Analysis,
        cache: &mut dyn Cache,
        size: u32,
        lifetime_s: u32,
    ) {
        let reached = self.run(cache, None);
        let predicted = analysis.expected(f64::from(size), lifetime_s).unwrap();
        assert!(
            (reached - predicted).abs() <= TOLERANCE,
            "{:?}, {} clients, size {size}, lifetime {lifetime_s}: predicted {predicted:.3}, \
             reached {reached:.3}",
            self.returns,
            self.clients
        );
    }

    /// Compares the prediction with caches of these sizes and lifetimes.
    pub(super) fn compare(&self, sizes: &[u32], lifetimes: &[u32]) {
        let analysis = self.analyse();
        for size in sizes {
            for lifetime in lifetimes {
                let mut cache = Fifo::new(*size as usize, f64::from(*lifetime));
                self.expect(&analysis, &mut cache, *size, *lifetime);
            }
        }
    }
}
