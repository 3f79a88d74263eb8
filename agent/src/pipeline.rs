//! Events to sums: the engine, the naming and the statistics in one pure piece, fed by `run`, `watch` and `replay` alike.

use crate::{
    correlate::{Engine, Observation, Tracked},
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
    now_ns: u64,
}

impl Pipeline {
    /// An empty pipeline.
    #[must_use]
    pub fn new(limits: Limits, max_connections: usize, naming: Naming) -> Self {
        Self {
            engine: Engine::new(max_connections),
            naming,
            stats: Stats::new(limits),
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
            ..
        } = self;
        engine.push(event, &mut |seen: Observation| stats.observe(&seen, naming));
        for loss in engine.losses() {
            stats.lose(&loss, naming);
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
    }

    /// Time of the newest event, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Sizes and losses of the engine's tables.
    #[must_use]
    pub fn tracked(&self) -> Tracked {
        self.engine.tracked()
    }
}
