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

use std::time::Instant;

use anyhow::Result;

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
}

impl Args {
    pub(crate) fn purpose(&self) -> Purpose {
        if self.compile {
            Purpose::Compile
        } else {
            Purpose::Build
        }
    }
}

/// What the machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compiling alone.
    Compile,
    /// Building, and running the demo.
    Build,
    /// All tests: the linters' tools too.
    Test,
}

/// What `cargo xtask vm` needs besides.
pub(crate) fn vm_packages(log: &Log) -> Result<()> {
    step("packages", || packages::ensure(log, packages::VM))
}

/// Runs all steps.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    paths::need_root("setup")?;
    let began = Instant::now();
    println!("setup");
    let log = Log::create(paths::target()?.join("setup.log"))?;
    step("compiler", || packages::ensure(&log, packages::COMPILER))?;
    if purpose != Purpose::Compile {
        step("packages", || packages::ensure(&log, packages::BASE))?;
    }
    step("rustc", || rust::ensure_rustc(&log))?;
    step("bpf-linker", || rust::ensure_linker(&log))?;
    if purpose == Purpose::Test {
        step("packages of tests", || {
            packages::ensure(&log, packages::TESTS)
        })?;
        step("npm", || {
            packages::ensure_program(&log, "npm", packages::NPM)
        })?;
        step("lints", || rust::ensure_lints(&log))?;
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
