//! Parts of a test run. Each runs one or more tools and passes their output through.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use xtask::{bpf, toolchain::Toolchain};

use super::{background::BackgroundCommand, totals::Totals};
use crate::{paths, setup, steps::command_line, vm};

/// Package of the behaviour tests.
const BEHAVIOUR_PACKAGE: &str = "reprise-tests";

/// Test binary that compiles carriers for minutes and needs no agent.
const CARRIERS_TEST: &str = "carriers";

/// Test binary of all other behaviour tests.
const BEHAVIOUR_TEST: &str = "behaviour";

/// Arguments of `cargo test` that run every test sequentially.
const SEQUENTIAL: [&str; 3] = ["--no-fail-fast", "--", "--test-threads=1"];

/// Command prefix for idle priority.
const IDLE_PRIORITY: [&str; 3] = ["chrt", "--idle", "0"];

/// Environment variable with the path of the agent under test.
pub(crate) const AGENT_ENV: &str = "REPRISE_BIN";

/// Environment variable that runs the agent as root instead of a user with the documented
/// capabilities.
const ROOT_ENV: &str = "REPRISE_AS_ROOT";

/// Environment variable with the directory of the tools for the tests.
const TOOLS_ENV: &str = "REPRISE_TOOLS";

/// Checks the formatting.
pub(super) fn format(_: &mut Totals) -> Result<()> {
    run_tool(paths::cargo().args(["fmt", "--all", "--check"]))
}

/// Lints the workspace.
pub(super) fn clippy_host(_: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets"]);
    run_tool(cargo.args(["--", "--deny", "warnings"]))
}

/// Lints the BPF programs, with the clippy of the compiler that builds them.
pub(super) fn clippy_bpf(totals: &mut Totals) -> Result<()> {
    let toolchain = Toolchain::find()?;
    if toolchain.clippy_driver().is_none() {
        println!(
            "skipped: {} has no clippy-driver; install it with `rustup component add clippy`",
            toolchain.rustc.display()
        );
        totals.skipped += 1;
        return Ok(());
    }
    let target = paths::target()?.join("bpf-clippy");
    for kernel in bpf::Kernel::ALL {
        let mut cargo = bpf::cargo(&toolchain, &paths::workspace(), &target, "clippy", kernel);
        run_tool(cargo.args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

/// Checks dependencies with cargo-deny, except for advisories.
pub(super) fn deny(totals: &mut Totals) -> Result<()> {
    let Some(program) = setup::find_deny()? else {
        println!("skipped: no cargo-deny; `cargo xtask test` without --fast installs it");
        totals.skipped += 1;
        return Ok(());
    };
    println!("advisories are not checked; run `cargo deny check advisories`");
    // cargo-deny reads the manifests of the packages for all targets.
    run_tool(paths::cargo().args(["fetch", "--locked"]))?;
    let mut deny = Command::new(program);
    deny.current_dir(paths::workspace())
        .args(["--locked", "--offline", "check"]);
    run_tool(deny.args(["--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Runs unit, property and doc tests of the workspace.
///
/// Every cargo command selects the whole workspace, so that features are equal and nothing is
/// compiled twice.
pub(super) fn unit(totals: &mut Totals) -> Result<()> {
    for targets in [["--lib", "--bins"].as_slice(), &["--doc"]] {
        let mut cargo = paths::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        run_tests(cargo.args(targets), Output::Stdout, totals)?;
    }
    Ok(())
}

/// Builds the agent.
pub(super) fn build(_: &mut Totals) -> Result<()> {
    run_tool(paths::cargo().args(["build", "--release", "--package", "reprise"]))
}

/// Runs the behaviour tests with real servers and the release build of the agent.
///
/// cargo-nextest runs tests with an agent sequentially and all others in parallel
/// (`.config/nextest.toml`); without it all tests are sequential. The tests of the carriers only
/// compile, so they run in the background at idle priority. If `as_root` is set, the agent has all
/// capabilities.
pub(super) fn behaviour(totals: &mut Totals, as_root: bool) -> Result<()> {
    let mut build = paths::cargo();
    build.args(["test", "--workspace", "--test", "*", "--no-run"]);
    run_tool(&mut build)?;
    let mut carriers = with_agent(paths::cargo_under(&IDLE_PRIORITY), as_root)?;
    carriers.args(["test", "--workspace", "--test", CARRIERS_TEST]);
    carriers.args(SEQUENTIAL);
    let carriers = BackgroundCommand::start("carriers.log", &mut carriers)?;
    let others = behaviour_with_agent(totals, as_root);
    println!("\ntests of the carriers:");
    let carriers = carriers.finish(|line| totals.add_line(line));
    others.and(carriers)
}

/// Runs the test binary `behaviour`.
fn behaviour_with_agent(totals: &mut Totals, as_root: bool) -> Result<()> {
    let mut cargo = with_agent(paths::cargo(), as_root)?;
    if is_nextest_installed() {
        cargo.args(["nextest", "run", "--color", "never", "--workspace"]);
        cargo.args(["--test", BEHAVIOUR_TEST]);
        return run_tests(&mut cargo, Output::Stderr, totals);
    }
    println!("cargo-nextest is not installed: all behaviour tests are sequential");
    cargo.args(["test", "--workspace", "--test", BEHAVIOUR_TEST]);
    run_tests(cargo.args(SEQUENTIAL), Output::Stdout, totals)
}

/// Whether `cargo nextest` runs.
fn is_nextest_installed() -> bool {
    let mut cargo = paths::cargo();
    cargo.args(["nextest", "--version"]);
    cargo.stdout(Stdio::null()).stderr(Stdio::null());
    cargo.status().is_ok_and(|status| status.success())
}

/// Sets the environment of the behaviour tests.
fn with_agent(mut cargo: Command, as_root: bool) -> Result<Command> {
    cargo
        .env(AGENT_ENV, paths::agent()?)
        .env(TOOLS_ENV, paths::tools()?);
    if as_root {
        cargo.env(ROOT_ENV, "1");
    }
    Ok(cargo)
}

/// Runs the brief guests of `cargo xtask vm`; they count as one test.
pub(super) fn other_kernels(totals: &mut Totals) -> Result<()> {
    let passed = vm::brief(paths::agent()?)?;
    totals.passed += u64::from(passed);
    totals.failed += u64::from(!passed);
    Ok(())
}

/// Runs the tests of all carriers, which take too long for every test run, and prints their output.
pub(super) fn matrix(totals: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo
        .args(["test", "--package", BEHAVIOUR_PACKAGE])
        .args(["--test", CARRIERS_TEST, "--test", BEHAVIOUR_TEST])
        .args(SEQUENTIAL)
        .args(["--ignored", "--nocapture"])
        .env(AGENT_ENV, paths::agent()?);
    run_tests(&mut cargo, Output::Stdout, totals)
}

/// Builds the documentation, including private items, with warnings as errors.
pub(super) fn doc(_: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    run_tool(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Runs a tool; fails if it fails.
fn run_tool(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("failed to start {}", command_line(command)))?;
    ensure!(
        status.success(),
        "failed: {} ({status})",
        command_line(command)
    );
    Ok(())
}

/// Stream with the result lines.
#[derive(Clone, Copy)]
enum Output {
    /// `cargo test`.
    Stdout,
    /// `cargo nextest`.
    Stderr,
}

/// Runs tests, passes their output through, and adds the result lines to `totals`.
fn run_tests(command: &mut Command, output: Output, totals: &mut Totals) -> Result<()> {
    command.stdin(Stdio::null());
    match output {
        Output::Stdout => command.stdout(Stdio::piped()),
        Output::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {}", command_line(command)))?;
    let stream: Option<Box<dyn Read>> = match output {
        Output::Stdout => child.stdout.take().map(|stream| Box::new(stream) as _),
        Output::Stderr => child.stderr.take().map(|stream| Box::new(stream) as _),
    };
    let stream = stream.context("failed to open the output of the tests")?;
    // The output of a test may be invalid UTF-8.
    for line in BufReader::new(stream).split(b'\n') {
        let line = line.context("failed to read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.add_line(&line);
    }
    let status = child.wait().context("failed to wait for the tests")?;
    ensure!(
        status.success(),
        "failed: {} ({status})",
        command_line(command)
    );
    Ok(())
}
