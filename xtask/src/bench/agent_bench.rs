//! The agent's benchmarks in `agent/benches`, and the values that they print.

use anyhow::{Context as _, Result};

use super::{context::check_interrupt, environment, numbers};
use crate::paths;

/// Output of a benchmark.
pub(super) struct Output(String);

impl Output {
    /// Returns the value with this name.
    pub(super) fn value(&self, name: &str) -> Result<f64> {
        let Self(output) = self;
        let value = numbers::bench_value(output, name).with_context(|| {
            format!("failed to find {name} in the benchmark's output: {output}")
        })?;
        println!("  {name} {value}");
        Ok(value)
    }
}

/// Runs a benchmark with an argument.
pub(super) fn run(bench: &str, argument: &str) -> Result<Output> {
    check_interrupt()?;
    let mut cargo = paths::cargo();
    cargo
        .args(["bench", "--package", "reprise", "--bench", bench, "--"])
        .arg(argument);
    environment::output(&mut cargo)
        .map(Output)
        .with_context(|| format!("failed to run the benchmark {bench} {argument}"))
}
