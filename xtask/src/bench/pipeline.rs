//! Results of the benchmark `agent/benches/pipeline.rs`.

use anyhow::Result;

use super::agent_bench;

/// Throughput and memory of the event pipeline.
pub(super) struct Pipeline {
    /// Events per second on one core.
    pub(super) events_per_second: f64,
    /// Resident memory with 50,000 peers, bytes.
    pub(super) memory: f64,
    /// Time to render a metrics page of 10,000 series, seconds.
    pub(super) page_seconds: f64,
}

/// Runs the benchmark, in one process per value.
pub(super) fn measure() -> Result<Pipeline> {
    let value = |name| agent_bench::run("pipeline", name)?.value(name);
    Ok(Pipeline {
        events_per_second: value("throughput")?,
        memory: value("memory")?,
        page_seconds: value("page")?,
    })
}
