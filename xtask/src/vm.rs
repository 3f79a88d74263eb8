//! `cargo xtask vm`: runs the agent on Debian's kernels, and on images given by path, under QEMU.
//!
//! A guest runs a smoke test and some of the behaviour tests, from an initramfs with programs of
//! this machine. Its only network is its loopback interface. QEMU emulates the CPU in software
//! unless an accelerator is selected.

mod cpio;
mod guest;
mod kernel;
mod lockdown;
mod report;
mod root;
mod suite;

use std::{path::PathBuf, slice, time::Instant};

use anyhow::{Context as _, Result, bail};

use self::{
    guest::{CONFIGURATIONS, Guest},
    kernel::Kernel,
};
use crate::{
    build, interrupt, paths,
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
    /// Agent binary to run; default: build one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Run one test per kernel with one of the configurations, as every test run does
    #[arg(long)]
    brief: bool,
    /// Print the console output of the guests
    #[arg(long)]
    verbose: bool,
}

/// Runs the guests; fails if any of them fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("vm")?;
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None => build::agent()?,
    };
    interrupt::install()?;
    let passed = boot_all(args, agent)?;
    if !passed {
        bail!("at least one kernel failed; see the reports above");
    }
    Ok(())
}

/// Runs the brief guests, as part of a test run, and returns whether all passed.
pub(crate) fn brief(agent: PathBuf) -> Result<bool> {
    let args = Args {
        kernel: Vec::new(),
        agent: None,
        brief: true,
        verbose: false,
    };
    boot_all(&args, agent)
}

/// Runs a guest per kernel and returns whether all passed.
fn boot_all(args: &Args, agent: PathBuf) -> Result<bool> {
    let start = Instant::now();
    let store = paths::target()?.join("vm");
    std::fs::create_dir_all(&store).context("failed to create the directory of the guests")?;
    let log = Log::create(store.join("vm.log"))?;
    println!("\npreparing guests");
    setup::vm_packages(&log)?;
    let kernels = Kernel::find(&log, &store, &args.kernel)?;
    let tests = suite::build(args.brief)?;
    let directory = TempDirectory::create("vm")?;
    let root = root::build(directory.path(), &agent, &tests)?;
    announce(&format!("ready in {:.0} s", start.elapsed().as_secs_f64()));
    let mut passed = true;
    for (turn, kernel) in kernels.iter().enumerate() {
        // A brief run alternates; the oldest kernel gets the configuration that all support.
        let one = &CONFIGURATIONS[(turn + 1) % CONFIGURATIONS.len()];
        let guest = Guest {
            kernel,
            configurations: match args.brief {
                true => slice::from_ref(one),
                false => CONFIGURATIONS,
            },
            root: &root,
            directory: directory.path(),
            brief: args.brief,
            verbose: args.verbose,
        };
        let start = Instant::now();
        let report = guest.run()?;
        let seconds = start.elapsed().as_secs_f64();
        println!("\n== Linux {} ({seconds:.0} s)\n{report}", kernel.release);
        passed &= report.passed();
        // A brief run boots the newest; an image given by path may lack the security module.
        let is_chosen = !args.brief || turn + 1 == kernels.len();
        if is_chosen && kernel.modules.is_some() {
            let report = guest.run_locked_down()?;
            println!("{report}");
            passed &= report.passed();
        }
    }
    Ok(passed)
}
