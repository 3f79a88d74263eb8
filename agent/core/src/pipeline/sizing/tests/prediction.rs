use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    super::{Analysis, Handshake, MAX_LINEAGES},
    caches::{Cache, Fifo, Shmcb, Time},
};

/// Greatest difference between a predicted hit ratio and that of a real cache.
const TOLERANCE: f64 = 0.05;

/// Random numbers (splitmix64), the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, up to 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }
}

/// How long clients stay away.
#[derive(Debug, Clone, Copy)]
enum Returns {
    Constant(Time),
    Exponential(Time),
    /// Pareto with shape 1.2 from this time on.
    HeavyTailed(Time),
    /// Thirds of the clients of the three kinds above.
    Mixed(Time),
}

impl Returns {
    fn next(self, client: u64, random: &mut Random) -> Time {
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
struct World {
    clients: u64,
    returns: Returns,
    seconds: Time,
    /// Share of the connections after which the session is removed from the cache.
    unclean: f64,
    single_use: bool,
    seed: u64,
}

impl World {
    fn new(clients: u64, returns: Returns, seconds: Time) -> Self {
        Self {
            clients,
            returns,
            seconds,
            unclean: 0.0,
            single_use: false,
            seed: 1,
        }
    }

    /// Runs the clients against a cache; returns its hit ratio in the second half of the time. The
    /// analysis begins then, too.
    fn run(&self, cache: &mut dyn Cache, mut analysis: Option<&mut Analysis>) -> f64 {
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
            let expired = stored_at[client as usize] + 300.0 < now;
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
            if offered.is_some() && now > self.seconds / 2.0 {
                offers += 1.0;
                hits += f64::from(u8::from(resumed));
            }
            if let Some(analysis) = &mut analysis
                && now > self.seconds / 2.0
            {
                analysis.record(&Handshake {
                    time_ns,
                    offered,
                    stored,
                    resumed,
                    single_use: self.single_use,
                    may_be_evicted: !expired,
                    restarted: false,
                    lifetime_ns: Some(300_000_000_000),
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

    fn begin(&self) -> Analysis {
        Analysis::new((self.seconds / 2.0 * 1e9) as u64)
    }

    /// The analysis of a server whose cache is small and whose lifetime is short.
    fn analyse(&self) -> Analysis {
        let mut analysis = self.begin();
        self.run(&mut Fifo::new(128, 300.0), Some(&mut analysis));
        analysis
    }

    fn expect(&self, analysis: &Analysis, cache: &mut dyn Cache, size: u32, lifetime_s: u32) {
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
    fn compare(&self, sizes: &[u32], lifetimes: &[u32]) {
        let analysis = self.analyse();
        for size in sizes {
            for lifetime in lifetimes {
                let mut cache = Fifo::new(*size as usize, f64::from(*lifetime));
                self.expect(&analysis, &mut cache, *size, *lifetime);
            }
        }
    }
}

#[test]
fn prediction_holds_for_constant_returns() {
    let world = World::new(3_000, Returns::Constant(200.0), 7_200.0);
    world.compare(&[256, 1_024, 2_048, 4_096, 16_384], &[60, 300, 600, 1_800]);
}

#[test]
fn prediction_holds_for_exponential_returns() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    world.compare(&[256, 1_024, 2_048, 4_096, 16_384], &[60, 300, 600, 1_800]);
}

#[test]
fn prediction_holds_for_heavy_tailed_returns() {
    let world = World::new(3_000, Returns::HeavyTailed(60.0), 7_200.0);
    world.compare(&[256, 1_024, 2_048, 4_096, 16_384], &[60, 300, 600, 1_800]);
}

#[test]
fn prediction_holds_for_clients_of_several_kinds() {
    let world = World::new(6_000, Returns::Mixed(600.0), 7_200.0);
    world.compare(&[512, 1_024, 2_048, 5_793, 8_192], &[300, 600, 1_800]);
}

#[test]
fn prediction_holds_between_the_sizes_of_the_grid() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    world.compare(&[300, 850, 1_300, 1_700, 5_000], &[300, 1_800]);
}

#[test]
fn prediction_holds_for_the_caches_of_apache() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    let analysis = world.analyse();
    for size in [1_024, 2_048, 4_096] {
        for lifetime in [300, 1_800] {
            let mut cache = Shmcb::new(size as usize, f64::from(lifetime));
            world.expect(&analysis, &mut cache, size, lifetime);
        }
    }
}

#[test]
fn prediction_holds_for_sessions_that_are_used_once() {
    let world = World {
        single_use: true,
        ..World::new(3_000, Returns::Exponential(400.0), 7_200.0)
    };
    world.compare(&[512, 2_048, 4_096, 8_192, 16_384], &[300, 1_800]);
}

#[test]
fn prediction_includes_sessions_that_are_removed() {
    let world = World {
        unclean: 0.3,
        ..World::new(2_000, Returns::Exponential(200.0), 7_200.0)
    };
    world.compare(&[512, 1_024, 8_192], &[300, 1_800]);
}

#[test]
fn the_sample_is_bounded_and_represents_all_clients() {
    let world = World::new(60_000, Returns::Exponential(1_200.0), 7_200.0);
    let analysis = world.analyse();
    assert!(analysis.is_sampled());
    assert_eq!(analysis.lineages(), MAX_LINEAGES);
    for (size, lifetime) in [(8_192, 600), (32_768, 1_800), (65_536, 1_800)] {
        let mut cache = Fifo::new(size as usize, f64::from(lifetime));
        world.expect(&analysis, &mut cache, size, lifetime);
    }
    let alive = analysis.alive() as f64;
    // All that returned within 300 seconds and had to be stored anew.
    assert!((10_000.0..17_000.0).contains(&alive), "{alive}");
}

#[test]
fn an_analysis_of_a_million_sessions_fits_into_four_mebibytes() {
    let mut random = Random(3);
    let mut analysis = Analysis::new(0);
    let mut sessions = vec![0; 100_000];
    for handshake in 0..1_000_000_u64 {
        let session = &mut sessions[(handshake % 100_000) as usize];
        let offered = (*session != 0).then_some(*session);
        *session = random.next();
        analysis.record(&Handshake {
            time_ns: handshake * 1_000_000,
            offered,
            stored: Some(*session),
            may_be_evicted: true,
            ..Handshake::default()
        });
    }
    assert_eq!(analysis.lineages(), MAX_LINEAGES);
    let bytes = analysis.memory();
    assert!(bytes <= 4 << 20, "{bytes}");
}

#[test]
fn offers_show_the_size_of_the_cache() {
    let world = World::new(3_000, Returns::Exponential(400.0), 7_200.0);
    for size in [300, 700, 1_000] {
        let mut analysis = world.begin();
        let reached = world.run(&mut Fifo::new(size, 300.0), Some(&mut analysis));
        let (found, at_least) = analysis.cache_size().unwrap();
        assert!(!at_least);
        assert!((found / size as f64 - 1.0).abs() < 0.1, "{size}: {found}");
        let measured = analysis.measured();
        let predicted = measured.predicted_hit_ratio.unwrap();
        assert!(
            (predicted - reached).abs() < TOLERANCE,
            "{predicted} {reached}"
        );
        assert!((measured.hit_ratio.unwrap() - reached).abs() < TOLERANCE);
    }
    let mut analysis = world.begin();
    world.run(&mut Fifo::new(100_000, 300.0), Some(&mut analysis));
    assert!(analysis.cache_size().unwrap().1);
}
