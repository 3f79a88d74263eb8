//! The agent, built as it is shipped, for demo and bench.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// Builds the agent in release and says where it is.
pub(crate) fn agent() -> Result<PathBuf> {
    println!("\nbuilding the agent");
    let began = Instant::now();
    let status = paths::cargo()
        .args(["build", "--release", "--package", "reprise"])
        .status()
        .context("failed to start cargo")?;
    if !status.success() {
        bail!("failed to build the agent ({status}); the compiler's message is above");
    }
    println!("built in {:.1} s", began.elapsed().as_secs_f64());
    paths::agent()
}
