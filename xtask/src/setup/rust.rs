//! Rust tools: rustc with the source of `core`, `bpf-linker` and linters.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use xtask::toolchain::{find_linker, find_rustc, in_path};

use super::packages;
use crate::{
    paths,
    steps::{Log, Outcome, announce},
};

/// Tested series of bpf-linker; its LLVM is at least as new as that of rustc.
const LINKER_SERIES: &str = "0.13";

/// Debian's directory of the LLVM for bpf-linker.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const NETWORK: &str = "check the network and cargo's registry, then run `cargo xtask setup` again";

/// Ensures that a rustc can build `core`: adds the source to the current toolchain, or installs
/// Debian's rustc.
pub(super) fn ensure_rustc(log: &Log) -> Result<Outcome> {
    if let Ok((rustc, _)) = find_rustc() {
        return Ok(Outcome::Present(format!(
            "{} with the source of core",
            rustc.display()
        )));
    }
    if in_path("rustup").is_some() {
        announce("adding the component rust-src to the current toolchain");
        let added = log.run(
            "add rust-src",
            Command::new("rustup").args(["component", "add", "rust-src"]),
            "none needed: Debian's rustc is the alternative",
        );
        if let Err(error) = added {
            announce(&format!("{error:#}"));
        }
    }
    // Debian's mirror may be reachable when that of rustup is not.
    if find_rustc().is_err() {
        packages::ensure(log, packages::RUSTC)?;
    }
    let (rustc, _) = find_rustc()?;
    Ok(Outcome::Done(format!(
        "{} with the source of core",
        rustc.display()
    )))
}

/// Builds `bpf-linker` from crates.io with Debian's LLVM, unless the tested series is installed.
pub(super) fn ensure_linker(log: &Log) -> Result<Outcome> {
    if let Ok(path) = find_linker() {
        let version = version(&path)?;
        if version.contains(&format!(" {LINKER_SERIES}.")) {
            return Ok(Outcome::Present(version));
        }
        announce(&format!("found {version}, expected series {LINKER_SERIES}"));
    }
    announce("building bpf-linker, which takes about a minute");
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

/// Installs rustfmt and clippy for the current toolchain.
pub(super) fn ensure_lints(log: &Log) -> Result<Outcome> {
    let is_installed = |name| in_path(name).is_some() && version(name.as_ref()).is_ok();
    if is_installed("cargo-fmt") && is_installed("cargo-clippy") {
        return Ok(Outcome::Present("rustfmt and clippy".to_owned()));
    }
    if in_path("rustup").is_none() {
        return packages::ensure(log, packages::LINTS);
    }
    log.run(
        "add rustfmt and clippy",
        Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]),
        "install rustfmt and clippy for the current toolchain",
    )?;
    Ok(Outcome::Done("added rustfmt and clippy".to_owned()))
}

/// Returns the first line of the output of `--version`.
pub(super) fn version(path: &Path) -> Result<String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .with_context(|| format!("failed to start {}", path.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "failed to get the version of {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
