//! The types of the Prometheus operator's objects, by which the tests hold the manifests to what it reads.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::packages;
use crate::{
    paths,
    steps::{Log, Outcome, announce},
};

/// What they are made of, pinned by content.
const REQUIREMENTS: &str = include_str!("operator.txt");

/// Fetches them where they are not there.
pub(super) fn ensure(log: &Log) -> Result<Outcome> {
    let directory = paths::tools()?.join("operator");
    if directory
        .join("cloudcoil/models/prometheus_operator")
        .is_dir()
    {
        return Ok(Outcome::Present("the operator's types".to_owned()));
    }
    packages::ensure(log, packages::PIP)?;
    announce("fetching the types of the Prometheus operator");
    let new = directory.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).context("failed to remove what an earlier run left")?;
    }
    fs::create_dir_all(&new).context("failed to create the directory of the operator's types")?;
    let file = new.join("requirements.txt");
    fs::write(&file, REQUIREMENTS).context("failed to write the requirements")?;
    log.run(
        "install the operator's types",
        Command::new("/usr/bin/python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--require-hashes", "--only-binary", ":all:"])
            .arg("--target")
            .arg(&new)
            .arg("--requirement")
            .arg(&file),
        "check the network, then run `cargo xtask setup` again",
    )?;
    fs::rename(&new, &directory).context("failed to put the operator's types into place")?;
    Ok(Outcome::Done("fetched the operator's types".to_owned()))
}
