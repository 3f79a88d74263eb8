//! Types of the Prometheus operator's objects, which the tests use to validate the manifests.

use std::fs;

use anyhow::{Context as _, Result};

use super::wheel;
use crate::{
    paths,
    steps::{Log, Outcome},
};

/// Python packages with the types, pinned by hash.
const REQUIREMENTS: &str = include_str!("operator.txt");

/// Downloads the types unless present.
pub(super) fn ensure(log: &Log) -> Result<Outcome> {
    let directory = paths::tools()?.join("operator");
    if directory
        .join("cloudcoil/models/prometheus_operator")
        .is_dir()
    {
        return Ok(Outcome::Present("the operator's types".to_owned()));
    }
    let new = directory.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).context("failed to remove an unfinished download")?;
    }
    wheel::pip(
        log,
        "the types of the Prometheus operator",
        REQUIREMENTS,
        &["install", "--target"],
        &new,
    )?;
    fs::rename(&new, &directory)
        .context("failed to rename the directory of the operator's types")?;
    Ok(Outcome::Done("downloaded the operator's types".to_owned()))
}
