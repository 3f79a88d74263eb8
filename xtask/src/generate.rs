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

use anyhow::{Context as _, Result};

use crate::paths;

/// Writes every generated file.
pub(crate) fn run() -> Result<()> {
    for (path, text) in files(&paths::workspace())? {
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
fn files(workspace: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for dashboard in dashboards::all() {
        let name = format!("dashboards/{}.json", dashboard.uid());
        files.push((workspace.join(name), dashboard.json()?));
    }
    files.extend(rules::files(workspace)?);
    files.push((
        workspace.join("docs/metrics.md"),
        reference::text(workspace)?,
    ));
    Ok(files)
}
