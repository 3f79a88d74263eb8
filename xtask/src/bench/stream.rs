//! Cost of the BPF programs for a long transfer, from the benchmark `agent/benches/transfer.rs`.

use anyhow::Result;

use super::{agent_bench, context::Bench};

/// Duration as a multiple of a handshake measurement: longer, since the ratios differ from 1 by
/// only about 0.01.
const DURATION_FACTOR: u64 = 4;

/// Median with its 95 % confidence interval.
#[derive(Clone, Copy)]
pub(super) struct Ratio {
    /// Median.
    pub(super) median: f64,
    /// Lower bound.
    pub(super) low: f64,
    /// Upper bound.
    pub(super) high: f64,
}

/// Rates of the transfer.
pub(super) struct Streams {
    /// Bytes per second without programs.
    pub(super) baseline: f64,
    /// Relative rate with the programs that inspect packets.
    pub(super) wire: Ratio,
    /// Relative rate with these and the programs at receives and sends.
    pub(super) all: Ratio,
}

/// Runs the benchmark.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Streams> {
    let seconds = bench.seconds * u64::from(bench.rounds) * DURATION_FACTOR;
    let output = agent_bench::run("transfer", &seconds.to_string())?;
    let ratio = |name: &str| -> Result<Ratio> {
        Ok(Ratio {
            median: output.value(name)?,
            low: output.value(&format!("{name}_low"))?,
            high: output.value(&format!("{name}_high"))?,
        })
    };
    Ok(Streams {
        baseline: output.value("rate")?,
        wire: ratio("wire")?,
        all: ratio("all")?,
    })
}
