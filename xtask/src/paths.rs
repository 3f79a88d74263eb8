//! Where things are: the workspace, its build directory, cargo, the built agent.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

/// Directory of the root manifest.
pub(crate) fn workspace() -> PathBuf {
    // Cargo names the package's directory at run time too; the compiled-in one serves without it.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

/// The build directory, as whatever configuration built this program chose it.
pub(crate) fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("failed to find this program's own path")?;
    let directory = program.parent().and_then(Path::parent);
    Ok(directory
        .context("failed to find the build directory: run this as `cargo xtask`")?
        .to_path_buf())
}

/// The agent as `cargo build --release` leaves it.
pub(crate) fn agent() -> Result<PathBuf> {
    Ok(target()?.join("release/reprise"))
}

/// Programs that only the tests use, one directory each.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

/// A cargo command in the workspace, without what an outer `cargo run` left in the environment.
pub(crate) fn cargo() -> Command {
    cargo_under(&[])
}

/// The same, started by the command `prefix`.
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

/// Refuses to go on without root.
pub(crate) fn need_root(verb: &str) -> Result<()> {
    if !Uid::effective().is_root() {
        bail!(
            "failed to {verb}: this needs root, to install packages, load BPF programs and make \
             network namespaces\nremedy: run it as root, for example `sudo -E env \"PATH=$PATH\" \
             cargo xtask {verb}`"
        );
    }
    Ok(())
}
