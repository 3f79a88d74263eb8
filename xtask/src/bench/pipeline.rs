//! The figures of `agent/benches/pipeline.rs`.

use anyhow::Result;

use super::cargo_bench;

/// What the pure half of the agent does and takes.
pub(super) struct Pipeline {
    /// Events per second on one core, decoded, correlated and counted.
    pub(super) events_per_second: f64,
    /// Resident memory with 50,000 peers, bytes.
    pub(super) memory: f64,
    /// A page of 10,000 series, seconds.
    pub(super) page: f64,
}

/// Runs it, a process per figure.
pub(super) fn measure() -> Result<Pipeline> {
    let figure = |name| cargo_bench::run("pipeline", name)?.figure(name);
    Ok(Pipeline {
        events_per_second: figure("throughput")?,
        memory: figure("memory")?,
        page: figure("page")?,
    })
}
