//! `cargo xtask generate`: generates the Grafana dashboards, the Kubernetes objects of the rules,
//! and the metrics reference.
//!
//! They are committed, so that using them does not need Rust. A unit test fails when a committed
//! file differs from the generated one.

mod dashboards;
mod grafana;
mod reference;
mod rules;

#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::paths;

/// Flags of `cargo xtask generate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Base URL of the published runbooks, with a final slash; default: alerts contain only the
    /// path of the runbook
    #[arg(long, value_name = "URL", default_value = rules::RUNBOOK_BASE, hide_default_value = true)]
    runbook_base: String,
}

/// Writes every generated file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let base = &args.runbook_base;
    ensure!(
        base.is_empty() || (base.contains("://") && base.ends_with('/')),
        "--runbook-base {base}: expected a URL that ends with a slash"
    );
    for (path, text) in files(&paths::workspace(), base)? {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("failed to create {}", directory.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Returns the path and text of every generated file.
fn files(workspace: &Path, runbook_base: &str) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for dashboard in dashboards::all() {
        let name = format!("dashboards/{}.json", dashboard.uid());
        files.push((workspace.join(name), dashboard.json()?));
    }
    files.extend(rules::files(workspace, runbook_base)?);
    files.push((
        workspace.join("docs/metrics.md"),
        reference::text(workspace)?,
    ));
    Ok(files)
}
