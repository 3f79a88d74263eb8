//! `cargo xtask setup`: installs the dependencies of builds, tests and the demo.
//!
//! The command is idempotent: it installs only what is missing. Each step prints its result and
//! duration; the error of a failed step contains a remedy.

mod cargo_tool;
mod grafana;
mod kernel;
mod kubernetes;
mod operator;
mod packages;
mod rust;
mod wheel;

use std::{env, process::Command, time::Instant};

use anyhow::{Context as _, Result};
pub(crate) use cargo_tool::{DENY, NEXTEST};

use crate::{
    paths,
    steps::{Log, step},
};

/// Flags of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install only the dependencies of compilation, without servers and kernel checks
    #[arg(long)]
    compile: bool,
    /// Also install the dependencies of the tests: more TLS programs, Prometheus, a browser
    #[arg(long, conflicts_with = "compile")]
    tests: bool,
}

impl Args {
    /// Purpose that the flags select.
    pub(crate) fn purpose(&self) -> Purpose {
        match (self.compile, self.tests) {
            (true, _) => Purpose::Compile,
            (_, true) => Purpose::Test,
            _ => Purpose::Build,
        }
    }
}

/// Purpose of the installation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compilation.
    Compile,
    /// Lints, unit tests and builds, the first part of a test run.
    Lint,
    /// Builds and the demo.
    Build,
    /// All tests.
    Test,
}

impl Purpose {
    /// Name of the log file. The tests are set up in a second process, with its own log.
    fn log_name(self) -> &'static str {
        match self {
            Self::Test => "setup-tests.log",
            _ => "setup.log",
        }
    }

    /// Returns the command that installs the dependencies of the tests in another process.
    pub(crate) fn test_setup() -> Result<Command> {
        let mut command =
            Command::new(env::current_exe().context("failed to find the path of this executable")?);
        command.args(["setup", "--tests"]);
        Ok(command)
    }
}

/// Installs the packages for `cargo xtask vm`.
pub(crate) fn vm_packages(log: &Log) -> Result<()> {
    step("packages", || packages::ensure(log, packages::VM))
}

/// Runs all steps for `purpose`.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    paths::require_root("setup")?;
    let start = Instant::now();
    println!("setup");
    let log = Log::create(paths::target()?.join(purpose.log_name()))?;
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
        step("test packages", || packages::ensure(&log, packages::TESTS))?;
        step("npm", || {
            packages::ensure_program(&log, "npm", packages::NPM)
        })?;
        step("cargo-deny", || DENY.ensure(&log))?;
        step("cargo-nextest", || NEXTEST.ensure(&log))?;
        step("kubernetes", || kubernetes::ensure(&log))?;
        step("operator", || operator::ensure(&log))?;
        step("grafana", || grafana::ensure(&log))?;
    }
    if purpose != Purpose::Compile {
        step("tracefs", kernel::ensure_tracefs)?;
        step("bpf", kernel::check_bpf)?;
    }
    println!("setup took {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
