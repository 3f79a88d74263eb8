//! The figures of the agent's own benchmark, `agent/benches/pipeline.rs`.

use anyhow::{Context as _, Result, ensure};

use super::{go_on, numbers};
use crate::paths;

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
    Ok(Pipeline {
        events_per_second: figure("throughput")?,
        memory: figure("memory")?,
        page: figure("page")?,
    })
}

fn figure(name: &str) -> Result<f64> {
    go_on()?;
    let output = paths::cargo()
        .args(["bench", "--package", "reprise", "--bench", "pipeline", "--"])
        .arg(name)
        .output()
        .context("failed to start cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "failed to measure {name} ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let value = numbers::figure(&said, name)
        .with_context(|| format!("failed to find {name} in what the benchmark said: {said}"))?;
    println!("  {name} {value}");
    Ok(value)
}
