//! The parts of a test run. Each runs one tool with its output passed through.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use xtask::{bpf, toolchain::Toolchain};

use super::{beside::Beside, totals::Totals};
use crate::{paths, setup, steps::shown, vm};

/// The package of the behaviour tests.
const BEHAVIOUR: &str = "reprise-tests";

/// The one of them that compiles, for minutes, and observes nothing.
const CARRIERS: &str = "carriers";

/// Has a command, and all that it starts, run where the processors would be idle.
const IDLE: [&str; 3] = ["chrt", "--idle", "0"];

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
    let Some(program) = setup::find_deny()? else {
        println!("skipped: no cargo-deny; `cargo xtask test` without --fast installs it");
        totals.skipped += 1;
        return Ok(());
    };
    println!("bans, licences, sources; advisories need the network: `cargo deny check advisories`");
    // It reads the manifests of all targets' packages, more than any build downloads.
    pass(paths::cargo().args(["fetch", "--locked"]))?;
    let mut deny = Command::new(program);
    deny.current_dir(paths::workspace())
        .args(["--locked", "--offline", "check"]);
    pass(deny.args(["--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Of the whole workspace, as all that cargo is asked for here: what it compiles for one part, with the features that all packages
/// together ask for, serves the others.
pub(super) fn unit(totals: &mut Totals) -> Result<()> {
    for targets in [["--lib", "--bins"].as_slice(), &["--doc"]] {
        let mut cargo = paths::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        count(cargo.args(targets), totals)?;
    }
    Ok(())
}

pub(super) fn build(_: &mut Totals) -> Result<()> {
    pass(paths::cargo().args(["build", "--release", "--package", "reprise"]))
}

/// Against real servers, with the agent as it is shipped. One at a time: each counts everything
/// that happens on this machine. `root`: the agent may do more than the documents say that it needs.
///
/// They wait more than they work, so what only compiles runs beside them, on the processors when nobody else wants them.
pub(super) fn behaviour(totals: &mut Totals, root: bool) -> Result<()> {
    pass(paths::cargo().args(["test", "--workspace", "--test", "*", "--no-run"]))?;
    let mut carriers = with_agent(paths::cargo_under(&IDLE), &[CARRIERS.to_owned()], root)?;
    let carriers = Beside::start("carriers.log", &mut carriers)?;
    let names = names()?;
    let others =
        with_agent(paths::cargo(), &names, root).and_then(|mut cargo| count(&mut cargo, totals));
    println!("\nbeside them:");
    let carriers = carriers.finish(|line| totals.add_line(line));
    others.and(carriers)
}

/// Has cargo, however it is started, run these behaviour tests.
fn with_agent(mut cargo: Command, names: &[String], root: bool) -> Result<Command> {
    cargo.args(["test", "--workspace"]);
    for name in names {
        cargo.args(["--test", name]);
    }
    cargo
        .args(["--no-fail-fast", "--", "--test-threads=1"])
        .env(AGENT_ENV, paths::agent()?)
        .env(TOOLS_ENV, paths::tools()?);
    if root {
        cargo.env(ROOT_ENV, "1");
    }
    Ok(cargo)
}

/// The behaviour tests that observe, one file each.
fn names() -> Result<Vec<String>> {
    let directory = paths::workspace().join("tests/tests");
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("failed to list {}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != CARRIERS)
        .collect();
    names.sort();
    Ok(names)
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
        .args(["--test", CARRIERS, "--test", "ready_made"])
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
