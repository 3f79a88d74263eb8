//! The Rust side: a rustc with its own `core` source, `bpf-linker`, the linters' tools.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use xtask::toolchain::{self, find_linker, find_rustc, in_path};

use super::packages;
use crate::{
    paths,
    steps::{Log, Outcome, announce},
};

/// The series of bpf-linker that was tried; its LLVM is as new as that of the rustc in use.
const LINKER_SERIES: &str = "0.13";

/// Where Debian puts the LLVM that bpf-linker is built with.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

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

/// `cargo-deny`, built with little optimisation: it runs for a second.
pub(super) fn ensure_deny(log: &Log) -> Result<Outcome> {
    if let Some(path) = deny() {
        return Ok(Outcome::Present(version(&path)?));
    }
    announce("building cargo-deny, about a minute");
    log.run(
        "install cargo-deny",
        paths::cargo()
            .args(["install", "cargo-deny", "--locked"])
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        NETWORK,
    )?;
    let path = deny().context("failed to find cargo-deny after its installation")?;
    Ok(Outcome::Done(version(&path)?))
}

/// Where `cargo-deny` is.
fn deny() -> Option<PathBuf> {
    let installed = toolchain::cargo_home()?.join("bin/cargo-deny");
    in_path("cargo-deny").or_else(|| installed.is_file().then_some(installed))
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
