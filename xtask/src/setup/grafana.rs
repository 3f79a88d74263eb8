//! Grafana's types, which the tests use to validate the dashboards.

use std::fs;

use anyhow::{Context as _, Result};

use super::wheel;
use crate::{
    paths,
    steps::{Log, Outcome},
};

/// Foundation SDK of Grafana 10.1, the oldest supported version, pinned by hash.
const REQUIREMENT: &str = "grafana-foundation-sdk==1769699998!10.1.0 \
    --hash=sha256:d131ffe49057fb669ba31ce7e28a303c96b3aecf4332b20de33cfa55110d498c\n";

const UNPACK: &str = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";

/// Downloads the types unless present.
pub(super) fn ensure(log: &Log) -> Result<Outcome> {
    let directory = paths::tools()?.join("grafana");
    if directory.join("grafana_foundation_sdk").is_dir() {
        return Ok(Outcome::Present("Grafana's types".to_owned()));
    }
    fs::create_dir_all(&directory).context("failed to create the directory of Grafana's types")?;
    wheel::download(log, "Grafana's types", REQUIREMENT, UNPACK, &directory)?;
    Ok(Outcome::Done("downloaded Grafana's types".to_owned()))
}
