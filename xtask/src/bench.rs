//! `cargo xtask bench`: measures the cost of the agent for a TLS server and for the host.
//!
//! Each comparison alternates between runs with and without the agent. The tables are printed and
//! written into `SPECIFICATION.md`, between markers; the rest of that file is handwritten.

mod accounting;
mod agent_bench;
mod carriers;
mod client;
mod context;
mod environment;
mod numbers;
mod observer;
mod pipeline;
mod programs;
mod rate;
mod report;
mod scan;
mod server;
mod stream;

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};
use context::Bench;
use report::Section;
use server::Nginx;

use crate::{
    build, certificate, interrupt, paths,
    process::TempDirectory,
    setup::{self, Purpose},
};

/// File with the promises and the measured tables.
const SPECIFICATION: &str = "SPECIFICATION.md";

/// Flags of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Duration of each measurement, seconds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Number of rounds of each comparison; the result is the median
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure only what is independent of the machine's load: traps per handshake, and the first
    /// scan of all processes
    #[arg(long)]
    counts: bool,
}

/// Runs all measurements, and prints and writes the tables.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("bench")?;
    setup::run(Purpose::Build)?;
    let agent = build::agent()?;
    interrupt::install()?;
    let start = Instant::now();

    let directory = TempDirectory::create("bench")?;
    certificate::create(directory.path(), &["127.0.0.1"])?;
    let unobserved = environment::copy_openssl(directory.path())?;
    let bench = Bench {
        agent: &agent,
        directory: directory.path(),
        unobserved: &unobserved,
        seconds: args.seconds,
        rounds: args.rounds,
    };
    println!("\nmeasuring the first scan of a thousand processes");
    let scan = scan::measure(&bench)?;
    println!("counting the traps of each carrier, which takes five minutes");
    let carriers = carriers::measure()?;
    let environment = environment::description()?;
    write(
        Section::Counted,
        &report::counted(&environment, &carriers, scan),
    )?;
    if args.counts {
        return Ok(());
    }

    println!("measuring a long transfer");
    let streams = stream::measure(&bench)?;
    println!("measuring the pipeline");
    let pipeline = pipeline::measure()?;
    let mut server = Nginx::start(&bench, "observed", None)?;
    println!(
        "measuring handshakes: {} s each, {} rounds",
        args.seconds, args.rounds
    );
    let rates = rate::measure(&bench, &mut server)?;
    println!("measuring the BPF programs");
    let programs = programs::measure(&bench, &mut server)?;

    let environment = format!(
        "{environment}; {} s per measurement, {} rounds, medians",
        args.seconds, args.rounds
    );
    let table = report::measured(&environment, &rates, &streams, &programs, &pipeline)?;
    write(Section::Measured, &table)?;
    println!("measured in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Prints a section and replaces it in [`SPECIFICATION`].
fn write(section: Section, table: &str) -> Result<()> {
    println!("\n{table}\n");
    let path = paths::workspace().join(SPECIFICATION);
    let old =
        fs::read_to_string(&path).with_context(|| format!("failed to read {SPECIFICATION}"))?;
    let new = section
        .replace(&old, table)
        .with_context(|| format!("failed to find the markers of the section in {SPECIFICATION}"))?;
    fs::write(&path, new).with_context(|| format!("failed to write {SPECIFICATION}"))?;
    println!("written to {SPECIFICATION}");
    Ok(())
}
