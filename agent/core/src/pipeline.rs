//! Events to sums: the engine, the naming and the statistics in one pure piece, fed by `run`, `watch` and `replay` alike.

pub mod advice;
pub mod clock;
pub mod correlate;
pub mod diagnose;
pub mod event;
pub mod peers;
pub mod reasons;
pub mod stats;
pub mod wire;
pub mod workload;

use crate::pipeline::{
    clock::Clock,
    correlate::{Bounds, Engine, Observation, Tracked},
    diagnose::{Removal, ServiceFacts, ServiceId},
    event::Event,
    peers::Naming,
    stats::{Limits, Stats},
};

/// See the module.
#[derive(Debug)]
pub struct Pipeline {
    engine: Engine,
    /// How peers are named; replaced when the peer file is read again.
    pub naming: Naming,
    /// The sums so far.
    pub stats: Stats,
    /// The host's clock.
    pub clock: Clock,
    now_ns: u64,
}

impl Pipeline {
    /// An empty pipeline.
    #[must_use]
    pub fn new(limits: Limits, bounds: Bounds, naming: Naming) -> Self {
        Self {
            engine: Engine::new(bounds),
            naming,
            stats: Stats::new(limits),
            clock: Clock::default(),
            now_ns: 0,
        }
    }

    /// Takes one event.
    pub fn push(&mut self, event: &Event) {
        self.now_ns = self.now_ns.max(event.time_ns());
        let Self {
            engine,
            naming,
            stats,
            clock,
            ..
        } = self;
        match event {
            Event::Clock(event) => clock.take(event),
            Event::Workload(event) => stats.workloads.assign(event.tgid, event.name()),
            _ => {}
        }
        engine.push(event, &mut |seen: Observation| stats.observe(&seen, naming));
        for loss in engine.losses() {
            stats.lose(&loss, naming);
        }
        for connection in engine.cut() {
            stats.cut(&connection, naming);
        }
    }

    /// The stream has ended: concludes what waits.
    pub fn finish(&mut self) {
        let Self {
            engine,
            naming,
            stats,
            ..
        } = self;
        engine.finish(&mut |seen: Observation| stats.observe(&seen, naming));
        for connection in engine.cut() {
            stats.cut(&connection, naming);
        }
    }

    /// Time of the newest event, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Sessions taken out of caches before their time, by [`Removal`].
    #[must_use]
    pub const fn removed(&self) -> &[u64; Removal::ALL.len()] {
        self.engine.removed()
    }

    /// What is known of a service.
    #[must_use]
    pub fn service(&self, service: ServiceId) -> ServiceFacts {
        self.engine.service(service)
    }

    /// Sizes and losses of the engine's tables.
    #[must_use]
    pub fn tracked(&self) -> Tracked {
        self.engine.tracked()
    }
}
