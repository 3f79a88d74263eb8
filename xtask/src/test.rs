//! `cargo xtask test`: installs dependencies, lints, builds, runs every test, prints the totals.
//!
//! Every part runs even if an earlier one failed, so that one run shows all failures. A failed lint
//! counts as one failed test, a lint that cannot run as one skipped test. Parts that wait for the
//! network or only compile run in the background.

mod background;
mod parts;
mod totals;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use background::BackgroundCommand;
pub(crate) use parts::AGENT_ENV;
use totals::Totals;

use crate::setup::{self, Purpose};

/// Flags of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only lints and unit tests, which need neither root nor servers; install nothing
    #[arg(long)]
    fast: bool,
    /// Also test every supported carrier of OpenSSL: a hundred builds, a gigabyte of downloads,
    /// half an hour
    #[arg(long, conflicts_with = "fast")]
    matrix: bool,
    /// Run the agent as root with all capabilities; default: as a user with the capabilities of
    /// docs/operating.md
    #[arg(long, conflicts_with = "fast")]
    as_root: bool,
}

/// Runs all parts; the totals are the last line of the output.
pub(crate) fn run(args: &Args) -> ExitCode {
    let start = Instant::now();
    let mut totals = Totals::default();
    if args.fast {
        lint(&mut totals);
        part("dependencies", &mut totals, parts::deny);
    } else if part("setup", &mut totals, |_| setup::run(Purpose::Lint)) {
        run_all(args, &mut totals);
    }
    println!("\ntotal time {:.0} s", start.elapsed().as_secs_f64());
    println!("{totals}");
    if totals.failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs all parts after the setup. The setup of the tests mostly waits for the network, so it runs
/// during lints and builds.
fn run_all(args: &Args, totals: &mut Totals) {
    let test_setup = Purpose::test_setup()
        .and_then(|mut setup| BackgroundCommand::start("setup-tests.out", &mut setup));
    lint(totals);
    let built = part("build", totals, parts::build);
    let installed = part("setup of the tests", totals, |_| test_setup?.finish(|_| {}));
    part("dependencies", totals, parts::deny);
    if !built || !installed {
        println!("skipped the behaviour tests, which need the agent and the setup of the tests");
        return;
    }
    part("behaviour tests", totals, |totals| {
        parts::behaviour(totals, args.as_root)
    });
    part("other kernels", totals, parts::other_kernels);
    if args.matrix {
        part("carrier matrix", totals, parts::matrix);
    }
}

/// Runs the parts that need neither root nor servers.
fn lint(totals: &mut Totals) {
    part("format", totals, parts::format);
    part("clippy (host)", totals, parts::clippy_host);
    part("clippy (BPF)", totals, parts::clippy_bpf);
    part("documentation", totals, parts::doc);
    part("unit and property tests", totals, parts::unit);
}

/// Runs one part under its heading and returns whether it passed.
fn part(name: &str, totals: &mut Totals, body: impl FnOnce(&mut Totals) -> Result<()>) -> bool {
    println!("\n== {name}");
    let start = Instant::now();
    let before = *totals;
    if let Err(error) = body(totals) {
        eprintln!("error: {error:#}");
        // Counts a part that failed without a failed test.
        if totals.failed == before.failed {
            totals.failed += 1;
        }
    }
    let passed = totals.failed == before.failed;
    let verdict = match (passed, totals.skipped > before.skipped) {
        (false, _) => "FAILED",
        (true, true) if totals.passed == before.passed => "skipped",
        (true, _) => "ok",
    };
    println!(
        "== {name}: {verdict} ({:.1} s)",
        start.elapsed().as_secs_f64()
    );
    passed
}
