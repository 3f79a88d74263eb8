//! Release build of the agent.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// Builds the agent and returns its path.
pub(crate) fn agent() -> Result<PathBuf> {
    println!("\nbuilding the agent");
    let start = Instant::now();
    let status = paths::cargo()
        .args(["build", "--release", "--package", "reprise"])
        .status()
        .context("failed to start cargo")?;
    if !status.success() {
        bail!("failed to build the agent ({status}); see the compiler's output above");
    }
    println!("built in {:.1} s", start.elapsed().as_secs_f64());
    paths::agent()
}
