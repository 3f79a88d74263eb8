//! The parts of a test run. Each runs one tool with its output passed through.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use xtask::{bpf, toolchain::Toolchain};

use super::totals::Totals;
use crate::{paths, steps::shown, vm};

/// The package of the behaviour tests.
const BEHAVIOUR: &str = "reprise-tests";

/// Tells the behaviour tests which agent to run.
pub(crate) const AGENT_ENV: &str = "REPRISE_BIN";

/// Tells them that the agent be root; a user with the documented capabilities otherwise.
const ROOT_ENV: &str = "REPRISE_AS_ROOT";

/// Tells them where `helm` and `kubectl` are.
const TOOLS_ENV: &str = "REPRISE_TOOLS";

pub(super) fn format(_: &mut Totals) -> Result<()> {
    pass(paths::cargo().args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy_host(_: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets"]);
    pass(cargo.args(["--", "--deny", "warnings"]))
}

/// The objects, with the clippy of the compiler that builds them.
pub(super) fn clippy_bpf(totals: &mut Totals) -> Result<()> {
    let toolchain = Toolchain::find()?;
    if toolchain.clippy_driver().is_none() {
        println!(
            "skipped: {} comes without clippy-driver; `rustup component add clippy` has one",
            toolchain.rustc.display()
        );
        totals.skipped += 1;
        return Ok(());
    }
    let target = paths::target()?.join("bpf-clippy");
    for kernel in bpf::Kernel::ALL {
        let mut cargo = bpf::cargo(&toolchain, &paths::workspace(), &target, "clippy", kernel);
        pass(cargo.args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

pub(super) fn deny(totals: &mut Totals) -> Result<()> {
    let asked = paths::cargo().args(["deny", "--version"]).output();
    if !asked.is_ok_and(|answer| answer.status.success()) {
        println!("skipped: no cargo-deny; `cargo xtask test` without --fast installs it");
        totals.skipped += 1;
        return Ok(());
    }
    println!("bans, licences, sources; advisories need the network: `cargo deny check advisories`");
    // It reads the manifests of all targets' packages, more than any build downloads.
    pass(paths::cargo().args(["fetch", "--locked"]))?;
    let mut cargo = paths::cargo();
    cargo.args(["deny", "--locked", "--offline", "check"]);
    pass(cargo.args(["--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

pub(super) fn unit(totals: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.args(["test", "--workspace", "--exclude", BEHAVIOUR]);
    count(cargo.arg("--no-fail-fast"), totals)
}

pub(super) fn build(_: &mut Totals) -> Result<()> {
    pass(paths::cargo().args(["build", "--release", "--package", "reprise"]))
}

/// Against real servers, with the agent as it is shipped. One at a time: each counts everything
/// that happens on this machine. `root`: the agent may do more than the documents say that it needs.
pub(super) fn behaviour(totals: &mut Totals, root: bool) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo
        .args(["test", "--package", BEHAVIOUR])
        .args(["--no-fail-fast", "--", "--test-threads=1"])
        .env(AGENT_ENV, paths::agent()?)
        .env(TOOLS_ENV, paths::tools()?);
    if root {
        cargo.env(ROOT_ENV, "1");
    }
    count(&mut cargo, totals)
}

/// On older kernels, with what each has and made to do without; one test for all.
pub(super) fn other_kernels(totals: &mut Totals) -> Result<()> {
    let passed = vm::brief(paths::agent()?)?;
    totals.passed += u64::from(passed);
    totals.failed += u64::from(!passed);
    Ok(())
}

/// The carriers that are too many for every run; what is compared is printed.
pub(super) fn matrix(totals: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo
        .args(["test", "--package", BEHAVIOUR])
        .args(["--test", "carriers", "--test", "ready_made"])
        .args(["--no-fail-fast", "--", "--test-threads=1"])
        .args(["--ignored", "--nocapture"])
        .env(AGENT_ENV, paths::agent()?);
    count(&mut cargo, totals)
}

/// Runs a tool that passes or fails.
fn pass(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    ensure!(status.success(), "failed: {} ({status})", shown(command));
    Ok(())
}

/// Runs a `cargo test`, its output passed through line by line and counted.
fn count(command: &mut Command, totals: &mut Totals) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    let stdout = child.stdout.take().context("failed to take the output")?;
    // By bytes: what a test prints need not be UTF-8.
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("failed to read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.add_line(&line);
    }
    let status = child.wait().context("failed to wait for the tests")?;
    ensure!(status.success(), "failed: {} ({status})", shown(command));
    Ok(())
}
