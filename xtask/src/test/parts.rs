//! The parts of a test run. Each runs one tool and passes its output through.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use xtask::{bpf, toolchain::Toolchain};

use super::{background::Background, totals::Totals};
use crate::{paths, process, setup, steps::command_line, vm};

/// The package of the behaviour tests.
const BEHAVIOUR: &str = "reprise-tests";

/// The test binary that only compiles, for minutes, and observes nothing.
const CARRIERS: &str = "carriers";

/// The test binary with all other behaviour tests.
const OBSERVING: &str = "behaviour";

/// Arguments of `cargo test` that run every test, one at a time.
const ONE_AT_A_TIME: [&str; 3] = ["--no-fail-fast", "--", "--test-threads=1"];

/// Starts a command and its children at idle priority.
const IDLE: [&str; 3] = ["chrt", "--idle", "0"];

/// Environment variable: path of the agent under test.
pub(crate) const AGENT_ENV: &str = "REPRISE_BIN";

/// Environment variable: the agent runs as root; otherwise as a user with the documented
/// capabilities.
const ROOT_ENV: &str = "REPRISE_AS_ROOT";

/// Environment variable: directory of `helm` and `kubectl`.
const TOOLS_ENV: &str = "REPRISE_TOOLS";

pub(super) fn format(_: &mut Totals) -> Result<()> {
    process::run_shown(paths::cargo().args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy_host(_: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets"]);
    process::run_shown(cargo.args(["--", "--deny", "warnings"]))
}

/// Runs clippy on the BPF programs with the compiler that builds them.
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
        process::run_shown(cargo.args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

pub(super) fn deny(totals: &mut Totals) -> Result<()> {
    let Some(program) = setup::DENY.find()? else {
        println!(
            "skipped: cargo-deny is not installed; `cargo xtask test` without --fast installs it"
        );
        totals.skipped += 1;
        return Ok(());
    };
    println!("checks bans, licences and sources; `cargo deny check advisories` needs the network");
    // cargo-deny reads the manifests of packages for all targets, more than a build downloads.
    process::run_shown(paths::cargo().args(["fetch", "--locked"]))?;
    let mut deny = Command::new(program);
    deny.current_dir(paths::workspace())
        .args(["--locked", "--offline", "check"]);
    process::run_shown(deny.args(["--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Unit, property and doc tests of the whole workspace, and the attacks on the HTTP server.
///
/// Every cargo command names the whole workspace, so that features are the same and nothing is
/// compiled twice.
pub(super) fn unit(totals: &mut Totals) -> Result<()> {
    for targets in [
        ["--lib", "--bins"].as_slice(),
        &["--doc"],
        &["--test", "http_attack"],
    ] {
        let mut cargo = paths::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        count(cargo.args(targets), Output::Stdout, totals)?;
    }
    Ok(())
}

pub(super) fn build(_: &mut Totals) -> Result<()> {
    process::run_shown(paths::cargo().args(["build", "--release", "--package", "reprise"]))
}

/// Builds the behaviour tests, and starts the carrier tests in the background at idle priority:
/// they only compile and run, without observing anything, and are the last to end. `root`: the
/// agent runs as root with all capabilities.
pub(super) fn start_carriers(root: bool) -> Result<Background> {
    let mut build = paths::cargo();
    build.args(["test", "--workspace", "--test", "*", "--no-run"]);
    process::run_shown(&mut build)?;
    let mut carriers = with_agent(paths::cargo_under(&IDLE), root)?;
    carriers.args(["test", "--workspace", "--test", CARRIERS]);
    carriers.args(ONE_AT_A_TIME);
    Background::start("carriers.log", &mut carriers)
}

/// Runs the behaviour tests against real servers with the release build of the agent: several at a
/// time with cargo-nextest (`.config/nextest.toml`), without it one at a time.
pub(super) fn behaviour(totals: &mut Totals, root: bool) -> Result<()> {
    let mut cargo = with_agent(paths::cargo(), root)?;
    cargo.env("PATH", setup::NEXTEST.search_path()?);
    if nextest_works()? {
        cargo.args(["nextest", "run", "--color", "never", "--workspace"]);
        cargo.args(["--test", OBSERVING]);
        return count(&mut cargo, Output::Stderr, totals);
    }
    println!("cargo-nextest is not installed: all behaviour tests run one at a time");
    cargo.args(["test", "--workspace", "--test", OBSERVING]);
    count(cargo.args(ONE_AT_A_TIME), Output::Stdout, totals)
}

/// Whether `cargo nextest` is installed and starts.
fn nextest_works() -> Result<bool> {
    let mut cargo = paths::cargo();
    cargo.env("PATH", setup::NEXTEST.search_path()?);
    cargo.args(["nextest", "--version"]);
    cargo.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(cargo.status().is_ok_and(|status| status.success()))
}

/// Sets the environment of the behaviour tests.
fn with_agent(mut cargo: Command, root: bool) -> Result<Command> {
    cargo
        .env(AGENT_ENV, paths::agent()?)
        .env(TOOLS_ENV, paths::tools()?);
    if root {
        cargo.env(ROOT_ENV, "1");
    }
    Ok(cargo)
}

/// Runs tests on older kernels in virtual machines; counts as one test.
pub(super) fn other_kernels(totals: &mut Totals) -> Result<()> {
    let passed = vm::brief(paths::agent()?)?;
    totals.passed += u64::from(passed);
    totals.failed += u64::from(!passed);
    Ok(())
}

/// Runs the ignored carrier tests and prints what they compare.
pub(super) fn matrix(totals: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo
        .args(["test", "--package", BEHAVIOUR])
        .args(["--test", CARRIERS, "--test", OBSERVING])
        .args(ONE_AT_A_TIME)
        .args(["--ignored", "--nocapture"])
        .env(AGENT_ENV, paths::agent()?);
    count(&mut cargo, Output::Stdout, totals)
}

/// Builds the documentation of all items, including private ones; a warning is an error.
pub(super) fn doc(_: &mut Totals) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    process::run_shown(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// The stream that carries the result lines.
#[derive(Clone, Copy)]
enum Output {
    /// `cargo test`.
    Stdout,
    /// `cargo nextest`.
    Stderr,
}

/// Runs tests, passes the output through line by line, and adds its result lines to `totals`.
fn count(command: &mut Command, output: Output, totals: &mut Totals) -> Result<()> {
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
    // As bytes, since the output of a test need not be UTF-8.
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
