//! Cost of the BPF programs for a long transfer, from the benchmark `agent/benches/transfer.rs`.

use anyhow::Result;

use super::{Bench, cargo_bench};

/// Duration as a multiple of a handshake measurement: longer, since the ratios differ from 1 by
/// only about 0.01.
const TIMES: u64 = 4;

/// A median, and the bounds of its 95 % confidence interval.
#[derive(Clone, Copy)]
pub(super) struct Ratio {
    /// The median.
    pub(super) middle: f64,
    /// Lower bound.
    pub(super) low: f64,
    /// Upper bound.
    pub(super) high: f64,
}

/// What was measured.
pub(super) struct Streams {
    /// Bytes per second without any program.
    pub(super) alone: f64,
    /// With ÷ without the programs that see packets.
    pub(super) wire: Ratio,
    /// With ÷ without these and those that see receives and sends.
    pub(super) all: Ratio,
}

/// Runs it.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Streams> {
    let seconds = bench.seconds * u64::from(bench.rounds) * TIMES;
    let said = cargo_bench::run("transfer", &seconds.to_string())?;
    let ratio = |name: &str| -> Result<Ratio> {
        Ok(Ratio {
            middle: said.figure(name)?,
            low: said.figure(&format!("{name}_low"))?,
            high: said.figure(&format!("{name}_high"))?,
        })
    };
    Ok(Streams {
        alone: said.figure("rate")?,
        wire: ratio("wire")?,
        all: ratio("all")?,
    })
}
