//! `cargo xtask generate`: writes what is derived from something else in this repository, and is committed so that nobody needs
//! Rust to use it: the Grafana dashboards, the rules as Kubernetes objects, the metrics reference.
//!
//! A unit test fails where a committed file differs from what would be written.

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
    /// Where docs/runbooks is published, up to the slash before `docs`: alerts link there. Without it they name the path
    #[arg(long, value_name = "URL", default_value = rules::RUNBOOK_BASE, hide_default_value = true)]
    runbook_base: String,
}

/// Writes every generated file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let base = &args.runbook_base;
    ensure!(
        base.is_empty() || (base.contains("://") && base.ends_with('/')),
        "--runbook-base {base}: a URL that ends in a slash is wanted"
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

/// Every generated file with its text.
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
