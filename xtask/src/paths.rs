//! Paths of the workspace and its build directory, and the command line of cargo.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

/// Returns the directory of the root manifest.
pub(crate) fn workspace() -> PathBuf {
    // `cargo run` sets the variable; a binary started directly uses the value of its build.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

/// Returns the build directory that contains this executable.
pub(crate) fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("failed to find the path of this executable")?;
    let directory = program.parent().and_then(Path::parent);
    Ok(directory
        .context("failed to find the build directory: run this as `cargo xtask`")?
        .to_path_buf())
}

/// Returns the path of the agent that `cargo build --release` writes.
pub(crate) fn agent() -> Result<PathBuf> {
    Ok(target()?.join("release/reprise"))
}

/// Returns the directory of the tools that only the tests use.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

/// Returns a cargo command in the workspace, without the environment of an outer `cargo run`.
pub(crate) fn cargo() -> Command {
    cargo_under(&[])
}

/// Returns the same command, started by the command `prefix`.
pub(crate) fn cargo_under(prefix: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut words = prefix.iter().map(OsString::from).chain([cargo]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(workspace());
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

/// Fails unless the process runs as root.
pub(crate) fn require_root(command: &str) -> Result<()> {
    if !Uid::effective().is_root() {
        bail!(
            "`cargo xtask {command}` needs root to install packages, load BPF programs and create \
             network namespaces\nremedy: run it as root, for example `sudo -E env \"PATH=$PATH\" \
             cargo xtask {command}`"
        );
    }
    Ok(())
}
