//! The agent's own benchmarks, `agent/benches`, and the figures that they print.

use anyhow::{Context as _, Result};

use super::{environment, go_on, numbers};
use crate::paths;

/// What one of them said.
pub(super) struct Said(String);

impl Said {
    /// A figure that is in it.
    pub(super) fn figure(&self, name: &str) -> Result<f64> {
        let Self(said) = self;
        let value = numbers::figure(said, name)
            .with_context(|| format!("failed to find {name} in what the benchmark said: {said}"))?;
        println!("  {name} {value}");
        Ok(value)
    }
}

/// Runs one with an argument.
pub(super) fn run(bench: &str, argument: &str) -> Result<Said> {
    go_on()?;
    let mut cargo = paths::cargo();
    cargo
        .args(["bench", "--package", "reprise", "--bench", bench, "--"])
        .arg(argument);
    environment::output(&mut cargo)
        .map(Said)
        .with_context(|| format!("failed to measure {bench} {argument}"))
}
