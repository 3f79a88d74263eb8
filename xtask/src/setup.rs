//! `cargo xtask setup`: finds or installs what builds, tests and the demo need.
//!
//! Idempotent: what is there is only looked at. Each step says what it found or did, and how long
//! it took; a step that fails names the remedy.

mod grafana;
mod kernel;
mod kubernetes;
mod operator;
mod packages;
mod rust;
mod wheel;

use std::{env, process::Command, time::Instant};

use anyhow::{Context as _, Result};
pub(crate) use rust::find_deny;

use crate::{
    paths,
    steps::{Log, step},
};

/// Flags of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what compiling takes: no servers, nothing of the kernel (for images)
    #[arg(long)]
    compile: bool,
    /// Also what only the tests take: more programs that carry TLS, Prometheus, a browser
    #[arg(long, conflicts_with = "compile")]
    tests: bool,
}

impl Args {
    pub(crate) fn purpose(&self) -> Purpose {
        match (self.compile, self.tests) {
            (true, _) => Purpose::Compile,
            (_, true) => Purpose::Test,
            _ => Purpose::Build,
        }
    }
}

/// What the machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compiling alone.
    Compile,
    /// Lints, unit tests and building, on a machine where all tests are to run.
    Lint,
    /// Building, and running the demo.
    Build,
    /// All tests.
    Test,
}

impl Purpose {
    /// Where the output of the tools goes: one may be set up for while another's work goes on.
    fn log(self) -> &'static str {
        match self {
            Self::Test => "setup-tests.log",
            _ => "setup.log",
        }
    }

    /// How to be set up for what only the tests take, by a process beside this one.
    pub(crate) fn tests() -> Result<Command> {
        let mut command = Command::new(env::current_exe().context("failed to find this program")?);
        command.args(["setup", "--tests"]);
        Ok(command)
    }
}

/// What `cargo xtask vm` needs besides.
pub(crate) fn vm_packages(log: &Log) -> Result<()> {
    step("packages", || packages::ensure(log, packages::VM))
}

/// Runs all steps.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    paths::require_root("setup")?;
    let began = Instant::now();
    println!("setup");
    let log = Log::create(paths::target()?.join(purpose.log()))?;
    step("compiler", || packages::ensure(&log, packages::COMPILER))?;
    if purpose == Purpose::Lint {
        step("library", || packages::ensure(&log, packages::UNIT))?;
    }
    if matches!(purpose, Purpose::Build | Purpose::Test) {
        step("packages", || packages::ensure(&log, packages::BASE))?;
    }
    step("rustc", || rust::ensure_rustc(&log))?;
    step("bpf-linker", || rust::ensure_linker(&log))?;
    if matches!(purpose, Purpose::Lint | Purpose::Test) {
        step("lints", || rust::ensure_lints(&log))?;
    }
    if purpose == Purpose::Test {
        step("packages of tests", || {
            packages::ensure(&log, packages::TESTS)
        })?;
        step("npm", || {
            packages::ensure_program(&log, "npm", packages::NPM)
        })?;
        step("cargo-deny", || rust::ensure_deny(&log))?;
        step("kubernetes", || kubernetes::ensure(&log))?;
        step("operator", || operator::ensure(&log))?;
        step("grafana", || grafana::ensure(&log))?;
    }
    if purpose != Purpose::Compile {
        step("tracefs", kernel::ensure_tracefs)?;
        step("bpf", kernel::check_bpf)?;
    }
    println!("setup took {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
