//! `cargo xtask test`: sets up, lints, builds, runs every test, and prints the totals.
//!
//! Every part runs even when an earlier one failed, so that one run shows all failures. A lint that
//! fails counts as one failed test, one that cannot run as one skipped. Parts that wait for the
//! network or only compile run in parallel with others (`beside`).

mod beside;
mod parts;
mod totals;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use beside::Beside;
pub(crate) use parts::AGENT_ENV;
use totals::Totals;

use crate::setup::{self, Purpose};

/// Flags of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what needs neither root nor servers: lints and unit tests, without setting up
    #[arg(long)]
    fast: bool,
    /// Also every carrier of OpenSSL that there are plans for: a hundred builds, a gigabyte of
    /// downloads, half an hour
    #[arg(long, conflicts_with = "fast")]
    matrix: bool,
    /// The agent as root with all capabilities; otherwise it is a user with those that
    /// docs/operating.md names
    #[arg(long, conflicts_with = "fast")]
    as_root: bool,
}

/// Runs all parts; the last line printed is the totals.
pub(crate) fn run(args: &Args) -> ExitCode {
    let began = Instant::now();
    let mut totals = Totals::default();
    if args.fast {
        lint(&mut totals);
        part("dependencies", &mut totals, parts::deny);
    } else if part("setup", &mut totals, |_| setup::run(Purpose::Lint)) {
        whole(args, &mut totals);
    }
    println!("\nall took {:.0} s", began.elapsed().as_secs_f64());
    println!("{totals}");
    if totals.failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs all parts. The set-up of the tests mostly waits for the network, so it runs during lints
/// and builds.
fn whole(args: &Args, totals: &mut Totals) {
    let rest =
        Purpose::test_setup().and_then(|mut setup| Beside::start("setup-tests.out", &mut setup));
    lint(totals);
    let built = part("build", totals, parts::build);
    let ready = part("setup of the tests", totals, |_| rest?.finish(|_| {}));
    part("dependencies", totals, parts::deny);
    if !built || !ready {
        println!("skipped the behaviour tests: they need the agent and a complete set-up");
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
    let began = Instant::now();
    let start = *totals;
    if let Err(error) = body(totals) {
        eprintln!("error: {error:#}");
        // A part that breaks before it could count its failures is one itself.
        if totals.failed == start.failed {
            totals.failed += 1;
        }
    }
    let passed = totals.failed == start.failed;
    let verdict = match (passed, totals.skipped > start.skipped) {
        (false, _) => "FAILED",
        (true, true) if totals.passed == start.passed => "skipped",
        (true, _) => "ok",
    };
    println!(
        "== {name}: {verdict} ({:.1} s)",
        began.elapsed().as_secs_f64()
    );
    passed
}
