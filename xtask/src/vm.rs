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
use rayon::{
    ThreadPoolBuilder,
    iter::{ParallelBridge as _, ParallelIterator as _},
};

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

/// Guests that run side by side. Each has two virtual CPUs, but boots on one.
const GUESTS_AT_A_TIME: usize = 2;

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
    let jobs = jobs(args, &kernels);
    let run = |(turn, job): (usize, &Job<'_>)| {
        let guest = Guest {
            kernel: job.kernel,
            root: &root,
            directory: &directory.path().join(turn.to_string()),
            brief: args.brief,
            verbose: args.verbose,
        };
        let start = Instant::now();
        let (report, passed) = match job.check {
            Check::Tests(configurations) => {
                let report = guest.run(configurations)?;
                (report.to_string(), report.passed())
            }
            Check::Lockdown => {
                let report = guest.run_locked_down()?;
                (report.to_string(), report.passed())
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "\n== Linux {} ({seconds:.0} s)\n{report}",
            job.kernel.release
        );
        Ok(passed)
    };
    let threads = ThreadPoolBuilder::new().num_threads(GUESTS_AT_A_TIME);
    let threads = threads.build().context("failed to start the threads")?;
    // Each guest takes the next job, so that the longest does not wait behind another.
    let jobs = jobs.iter().enumerate().par_bridge();
    let passed: Result<Vec<bool>> = threads.install(|| jobs.map(run).collect());
    Ok(passed?.into_iter().all(|passed| passed))
}

/// A guest to boot.
struct Job<'a> {
    kernel: &'a Kernel,
    check: Check,
}

/// What a guest checks.
enum Check {
    /// The smoke test and behaviour tests, in each of these configurations.
    Tests(&'static [&'static str]),
    /// The agent on a host that is locked down for confidentiality.
    Lockdown,
}

/// The guests of a run, in the order in which they start.
fn jobs<'a>(args: &Args, kernels: &'a [Kernel]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for (turn, kernel) in kernels.iter().enumerate() {
        // A brief run alternates; the oldest kernel gets the configuration that all support.
        let one = &CONFIGURATIONS[(turn + 1) % CONFIGURATIONS.len()];
        let configurations = match args.brief {
            true => slice::from_ref(one),
            false => CONFIGURATIONS,
        };
        let check = Check::Tests(configurations);
        jobs.push(Job { kernel, check });
        // A brief run boots the newest; an image given by path may lack the security module.
        let is_chosen = !args.brief || turn + 1 == kernels.len();
        if is_chosen && kernel.modules.is_some() {
            let check = Check::Lockdown;
            jobs.push(Job { kernel, check });
        }
    }
    jobs
}
