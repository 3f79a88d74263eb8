//! `cargo xtask test`: installs what the tests need, runs lints, builds, runs every test, and
//! prints the totals.
//!
//! Every part runs even if an earlier one failed, so that one run shows all failures. A lint that
//! fails counts as one failed test, and one that cannot run as one skipped test. Parts that wait
//! for the network or only compile run in the background of others.

mod background;
mod parts;
mod totals;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use background::Background;
pub(crate) use parts::AGENT_ENV;
use totals::Totals;

use crate::setup::{self, Purpose};

/// Flags of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only lints and unit tests, which need neither root nor servers; installs nothing
    #[arg(long)]
    fast: bool,
    /// Also every OpenSSL carrier that has a plan: a hundred builds, a gigabyte of downloads, half
    /// an hour
    #[arg(long, conflicts_with = "fast")]
    matrix: bool,
    /// Run the agent as root with all capabilities, not as a user with those in
    /// docs/requirements.md
    #[arg(long, conflicts_with = "fast")]
    as_root: bool,
}

/// Runs the parts and prints the totals as the last line.
pub(crate) fn run(args: &Args) -> ExitCode {
    let began = Instant::now();
    let mut totals = Totals::default();
    if args.fast {
        lint(&mut totals);
        part("dependencies", &mut totals, parts::deny);
    } else if part("setup", &mut totals, |_| setup::run(Purpose::Lint)) {
        all_parts(args, &mut totals);
    }
    println!("\nall took {:.0} s", began.elapsed().as_secs_f64());
    if totals.flaky > 0 {
        println!(
            "{} of them passed only at the second attempt; FLAKY above names them",
            totals.flaky
        );
    }
    println!("{totals}");
    if totals.failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs all parts. The set-up of the behaviour tests mostly waits for the network, so it runs
/// during lints and builds.
fn all_parts(args: &Args, totals: &mut Totals) {
    let test_setup = Purpose::test_setup()
        .and_then(|mut command| Background::start("setup-tests.out", &mut command));
    lint(totals);
    let built = part("build", totals, parts::build);
    let ready = part("setup of the tests", totals, |_| test_setup?.finish(|_| {}));
    part("dependencies", totals, parts::deny);
    if !built || !ready {
        println!("skipped the behaviour tests, which need the agent and a complete set-up");
        return;
    }
    let mut carriers = None;
    part("behaviour tests", totals, |totals| {
        carriers = Some(parts::start_carriers(args.as_root)?);
        parts::behaviour(totals, args.as_root)
    });
    part("other kernels", totals, parts::other_kernels);
    if let Some(carriers) = carriers {
        part("carriers", totals, |totals| {
            carriers.finish(|line| totals.add_line(line))
        });
    }
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
        // A part that fails before it has counted any failure counts as one.
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
