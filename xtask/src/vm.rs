//! `cargo xtask vm`: runs the agent on Debian's kernels, and on images given by path, under QEMU.
//!
//! The root file system of a guest is an initramfs with programs of this machine. By default the
//! CPU is emulated in software. The only network of a guest is its loopback. Each guest runs a
//! smoke test and some of the behaviour tests.

mod cpio;
mod guest;
mod kernel;
mod report;
mod root;

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail};

use self::{
    guest::{Guest, WAYS},
    kernel::Kernel,
};
use crate::{
    build, paths,
    process::TempDirectory,
    setup,
    steps::{Log, announce},
};

/// Flags of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel to boot: a series of Debian (5.10, 6.1, 6.12), or the path of an image without
    /// modules; repeatable; default: every series
    #[arg(long, value_name = "SERIES|IMAGE")]
    kernel: Vec<String>,
    /// Try this binary instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Only what fits into every test run: one way for each kernel, in turns, and one test
    #[arg(long)]
    brief: bool,
    /// Print what the guests print
    #[arg(long)]
    verbose: bool,
}

/// Boots each kernel; fails where one of them does.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("vm")?;
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None => build::agent()?,
    };
    let passed = boot_all(args, agent)?;
    if !passed {
        bail!("failed on at least one kernel; see above");
    }
    Ok(())
}

/// What every test run has time for.
pub(crate) fn brief(agent: PathBuf) -> Result<bool> {
    let args = Args {
        kernel: Vec::new(),
        agent: None,
        brief: true,
        verbose: false,
    };
    boot_all(&args, agent)
}

fn boot_all(args: &Args, agent: PathBuf) -> Result<bool> {
    let began = Instant::now();
    let store = paths::target()?.join("vm");
    std::fs::create_dir_all(&store).context("failed to create the directory of guests")?;
    let log = Log::create(store.join("vm.log"))?;
    println!("\npreparing guests");
    setup::vm_packages(&log)?;
    let kernels = Kernel::find(&log, &store, &args.kernel)?;
    let tests = guest::tests(args.brief)?;
    let directory = TempDirectory::create("vm")?;
    let root = root::build(&log, directory.path(), &agent, &tests)?;
    announce(&format!("ready in {:.0} s", began.elapsed().as_secs_f64()));
    let mut passed = true;
    for (turn, kernel) in kernels.iter().enumerate() {
        // In turns, the oldest kernel with what the oldest of all would use.
        let one = WAYS.iter().cycle().skip(turn + 1).take(1);
        let guest = Guest {
            kernel,
            ways: &match args.brief {
                true => one.copied().collect::<Vec<_>>(),
                false => WAYS.to_vec(),
            },
            root: &root,
            directory: directory.path(),
            brief: args.brief,
            verbose: args.verbose,
        };
        let began = Instant::now();
        let report = guest.run(&log)?;
        let seconds = began.elapsed().as_secs_f64();
        println!("\n== Linux {} ({seconds:.0} s)\n{report}", kernel.release);
        passed &= report.passed();
    }
    Ok(passed)
}
