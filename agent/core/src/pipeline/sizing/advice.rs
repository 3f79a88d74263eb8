//! Advice for one service: the hit ratio of its cache, the expected one of other caches, and the
//! one to configure.

use serde::{Deserialize, Serialize};

use super::{
    analysis::Analysis,
    config_lines::{ConfigLine, Demand},
    grid::SIZES,
    table::Service,
    verdict::{Obstacle, Verdict},
};

/// Maximum difference of an advised cache's hit ratio from the best one.
const TOLERANCE: f64 = 0.02;
/// Minimum increase of the hit ratio for which a change is advised.
const MIN_GAIN: f64 = 0.05;
const HOUR_NS: f64 = 3_600e9;

/// The expected hit ratio of one cache.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Size, sessions.
    pub size: u64,
    /// Lifetime, seconds.
    pub lifetime_seconds: u32,
    /// Expected hit ratio.
    pub hit_ratio: f64,
}

/// What the present cache achieves, and the prediction for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Time that the offers cover, seconds; older ones count less.
    pub seconds: f64,
    /// Offers of sessions that were accepted.
    pub accepted: u64,
    /// Offers of sessions that were missed.
    pub missed: u64,
    /// Share of the offers that were accepted.
    pub hit_ratio: Option<f64>,
    /// Lifetime of the sessions, seconds.
    pub lifetime_seconds: Option<u32>,
    /// Size of the cache, sessions, as the offers show it.
    pub size: Option<u64>,
    /// The cache may be larger: it was not full.
    pub size_is_lower_bound: bool,
    /// Hit ratio that the prediction gives for the present size and lifetime.
    pub predicted_hit_ratio: Option<f64>,
    /// Sessions alive: what a cache with the present lifetime would have to hold.
    pub sessions_alive: u64,
}

/// Advice for one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Whether the cache should be changed.
    pub verdict: Verdict,
    /// What prevents advice; `None` unless the verdict is [`Verdict::Unknown`].
    pub obstacle: Option<Obstacle>,
    /// The present cache.
    pub measured: Measured,
    /// Expected hit ratios: the sizes that make a difference, for each lifetime that was observed
    /// for long enough; empty if the verdict is [`Verdict::Unknown`].
    pub curve: Vec<Point>,
    /// The cache to configure, if it brings more than the present one.
    pub recommended: Option<Point>,
    /// Its size as a multiple of the present one, where that is known.
    pub times_present_size: Option<f64>,
    /// Smallest size that comes close to the best hit ratio, per lifetime.
    pub knees: Vec<Point>,
    /// Processor time that the recommended cache saves per hour, seconds, from the measured cost of
    /// full and resumed handshakes.
    pub saved_cpu_seconds_per_hour: Option<f64>,
    /// Round trips that it saves per hour: a full handshake of TLS 1.2 takes one more, one of TLS
    /// 1.3 does not.
    pub saved_round_trips_per_hour: Option<f64>,
    /// Processor time of a full and a resumed handshake, seconds.
    pub handshake_cpu_seconds: [Option<f64>; 2],
    /// Settings of each server for the recommended cache.
    pub settings: Vec<ConfigLine>,
    /// Time for which 95 % of the offered tickets need their key, seconds.
    pub ticket_key_needed_seconds: Option<u32>,
    /// Offered tickets by the number of keys that came into use since theirs; the last is of more.
    pub tickets_by_keys_back: Vec<u64>,
    /// The prediction is from a sample of the clients.
    pub sampled: bool,
}

impl Service {
    /// Advice for the service.
    #[must_use]
    pub fn advice(&self) -> Advice {
        let tickets = Advice {
            ticket_key_needed_seconds: self.tickets.needed_s(),
            tickets_by_keys_back: self.tickets.keys_back.to_vec(),
            handshake_cpu_seconds: self.cpu_seconds(),
            ..Advice::default()
        };
        let cache = self.cache.as_deref();
        let obstacle = cache.map_or(Some(Obstacle::NoCache), Analysis::obstacle);
        match (cache, obstacle) {
            (Some(cache), None) => self.with_cache(tickets, cache),
            _ => Advice {
                obstacle,
                measured: cache.map(Analysis::measured).unwrap_or_default(),
                sampled: cache.is_some_and(Analysis::is_sampled),
                ..tickets
            },
        }
    }

    fn with_cache(&self, tickets: Advice, cache: &Analysis) -> Advice {
        let lifetimes = lifetimes(cache);
        let knees: Vec<_> = lifetimes
            .iter()
            .filter_map(|lifetime_s| knee(cache, *lifetime_s))
            .collect();
        let measured = cache.measured();
        let recommended = recommended(cache, &measured, &knees);
        let exact_size = measured.size.filter(|_| !measured.size_is_lower_bound);
        Advice {
            verdict: match recommended {
                None => Verdict::Sufficient,
                Some(_) => Verdict::Change,
            },
            curve: curve(cache, &lifetimes),
            recommended,
            times_present_size: recommended
                .zip(exact_size)
                .map(|(point, size)| point.size as f64 / size as f64),
            knees,
            sampled: cache.is_sampled(),
            settings: recommended.map_or_else(Vec::new, |point| self.settings(&point)),
            ..self.with_savings(tickets, &measured, recommended)
        }
    }

    fn cpu_seconds(&self) -> [Option<f64>; 2] {
        self.cost.map(|cost| {
            (cost.handshakes > 0).then(|| cost.library_ns as f64 / 1e9 / cost.handshakes as f64)
        })
    }

    fn with_savings(
        &self,
        advice: Advice,
        measured: &Measured,
        recommended: Option<Point>,
    ) -> Advice {
        let sums = self.cache.as_ref().map(|cache| cache.sums);
        let gained = recommended
            .zip(measured.hit_ratio)
            .filter(|_| measured.seconds > 0.0)
            .map(|(point, today)| {
                // The cost of handshakes is measured for TLS 1.2.
                let tls13 = sums.map_or(0, |sums| sums.single_use);
                let offers = (measured.accepted + measured.missed).saturating_sub(tls13) as f64;
                let per_hour = offers * HOUR_NS / 1e9 / measured.seconds;
                per_hour * (point.hit_ratio - today).max(0.0)
            });
        let [full, resumed] = self.cpu_seconds();
        Advice {
            measured: *measured,
            saved_round_trips_per_hour: gained,
            saved_cpu_seconds_per_hour: gained
                .zip(full.zip(resumed))
                .map(|(gained, (full, resumed))| gained * (full - resumed).max(0.0)),
            ..advice
        }
    }

    fn settings(&self, point: &Point) -> Vec<ConfigLine> {
        let [full, resumed] = self.tls13;
        let stored = self.cache.as_ref().map_or(0, |cache| cache.stored());
        // Two tickets after a full handshake of TLS 1.3, one after a resumed one.
        let tls13 = (2 * full + resumed) as f64;
        let share = if stored > 0 {
            tls13 / stored as f64
        } else {
            0.0
        };
        let demand = Demand {
            sessions: point.size,
            tls13_sessions: (point.size as f64 * share) as u64,
            lifetime_s: point.lifetime_seconds,
        };
        demand.lines()
    }
}

impl Analysis {
    /// What the present cache achieves, and the prediction for it.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let offers = self.sums.accepted + self.sums.missed;
        let size = self.cache_size();
        let is_known = self.present_row().is_sufficient();
        Measured {
            seconds: self.counted_ns() as f64 / 1e9,
            accepted: self.sums.accepted,
            missed: self.sums.missed,
            hit_ratio: (offers > 0).then(|| self.sums.accepted as f64 / offers as f64),
            lifetime_seconds: self.lifetime_s(),
            size: size.map(|(size, _)| size as u64),
            size_is_lower_bound: size.is_some_and(|(_, at_least)| at_least),
            predicted_hit_ratio: self.predicted().filter(|_| is_known),
            sessions_alive: self.alive(),
        }
    }
}

/// The lifetimes that were observed for long enough, ascending: with a longer one, no session can
/// have expired yet.
fn lifetimes(cache: &Analysis) -> Vec<u32> {
    let present = cache.lifetime_s();
    let present = present.filter(|_| cache.present_row().is_sufficient());
    let mut lifetimes: Vec<_> = cache.known_lifetimes().chain(present).collect();
    lifetimes.sort_unstable();
    lifetimes.dedup();
    lifetimes
}

fn points(cache: &Analysis, lifetime_s: u32) -> impl Iterator<Item = Point> {
    SIZES.into_iter().filter_map(move |size| {
        Some(Point {
            size: u64::from(size),
            lifetime_seconds: lifetime_s,
            hit_ratio: cache.expected(f64::from(size), lifetime_s)?,
        })
    })
}

/// The points of each lifetime, without the largest sizes, which bring nothing more.
fn curve(cache: &Analysis, lifetimes: &[u32]) -> Vec<Point> {
    let mut curve = Vec::new();
    for lifetime_s in lifetimes {
        let points: Vec<_> = points(cache, *lifetime_s).collect();
        let Some(best) = points.last().map(|point| point.hit_ratio) else {
            continue;
        };
        let enough = points
            .iter()
            .position(|point| point.hit_ratio >= best)
            .unwrap_or(points.len() - 1);
        curve.extend_from_slice(&points[..=enough]);
    }
    curve
}

/// The smallest size that comes close to the best hit ratio of a lifetime.
fn knee(cache: &Analysis, lifetime_s: u32) -> Option<Point> {
    let best = points(cache, lifetime_s).last()?.hit_ratio;
    points(cache, lifetime_s).find(|point| point.hit_ratio >= best - TOLERANCE)
}

/// The next size above the knee, as a reserve for growth, of the present lifetime, or of the
/// shortest longer one that brings more; `None` if it brings little more than the present cache. It
/// is never smaller than what the present cache holds, since more clients may connect later.
fn recommended(cache: &Analysis, measured: &Measured, knees: &[Point]) -> Option<Point> {
    let present = measured.lifetime_seconds.unwrap_or(0);
    let best = knees.iter().map(|knee| knee.hit_ratio).fold(0.0, f64::max);
    let chosen = knees
        .iter()
        .find(|knee| knee.lifetime_seconds >= present && knee.hit_ratio >= best - TOLERANCE)
        .or_else(|| knees.last())?;
    let least = (chosen.size + 1).max(measured.size.unwrap_or(0));
    let largest = points(cache, chosen.lifetime_seconds).last();
    let point = points(cache, chosen.lifetime_seconds)
        .find(|point| point.size >= least)
        .or(largest)?;
    let today = cache.present_row().reached?;
    (point.hit_ratio - today >= MIN_GAIN).then_some(point)
}
