//! `cargo xtask bench`: measures the cost of the agent for a TLS server and for the host.
//!
//! Each comparison alternates between runs with and without the agent. The tables are printed and
//! written into `SPECIFICATION.md`, between markers; the rest of that file is handwritten.

mod accounting;
mod cargo_bench;
mod carriers;
mod client;
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

use std::{ffi::OsStr, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use report::Section;
use server::Nginx;

use crate::{
    build, certificate, interrupt, paths,
    process::{self, TempDirectory},
    setup::{self, Purpose},
};

/// The file that holds the promises and the measured tables.
const SPECIFICATION: &str = "SPECIFICATION.md";

/// Flags of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each single measurement takes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How often each comparison is made; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure only what is independent of the machine's load: traps per handshake, and the first
    /// scan of all processes
    #[arg(long)]
    counts: bool,
}

/// What one comparison is about: a kind of handshake.
struct Case {
    /// As the table shows it.
    name: &'static str,
    /// TLS 1.3 with tickets, or TLS 1.2 with session IDs.
    tls13: bool,
    /// The client offers its session again.
    resumed: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "TLS 1.2, full",
        tls13: false,
        resumed: false,
    },
    Case {
        name: "TLS 1.2, resumed",
        tls13: false,
        resumed: true,
    },
    Case {
        name: "TLS 1.3, full",
        tls13: true,
        resumed: false,
    },
    Case {
        name: "TLS 1.3, resumed",
        tls13: true,
        resumed: true,
    },
];

/// Where everything of this run is.
struct Bench<'a> {
    agent: &'a Path,
    directory: &'a Path,
    /// `LD_PRELOAD` of a program that the agent must not observe: copies of OpenSSL's two
    /// libraries in a directory that the agent ignores. They have the sonames of the originals, so
    /// the linker does not load those.
    unobserved: &'a OsStr,
    seconds: u64,
    rounds: u32,
}

/// Measures everything, prints the tables, and writes them down.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("bench")?;
    setup::run(Purpose::Build)?;
    let agent = build::agent()?;
    interrupt::install()?;
    let began = Instant::now();

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
    println!("\nmeasuring the first look at a thousand processes");
    let scan = scan::measure(&bench)?;
    println!("counting traps of each carrier, five minutes");
    let carriers = carriers::measure()?;
    let described = environment::describe()?;
    write(
        Section::Counted,
        &report::counted(&described, &carriers, scan),
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

    let described = format!(
        "{described}; {} s per measurement, {} rounds, medians",
        args.seconds, args.rounds
    );
    let table = report::measured(&described, &rates, &streams, &programs, &pipeline)?;
    write(Section::Measured, &table)?;
    println!("measured in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Prints a section, and puts it in its place.
fn write(section: Section, table: &str) -> Result<()> {
    println!("\n{table}\n");
    let path = paths::workspace().join(SPECIFICATION);
    let old =
        fs::read_to_string(&path).with_context(|| format!("failed to read {SPECIFICATION}"))?;
    let new = section
        .replace(&old, table)
        .with_context(|| format!("failed to find the two markers in {SPECIFICATION}"))?;
    fs::write(&path, new).with_context(|| format!("failed to write {SPECIFICATION}"))?;
    println!("written to {SPECIFICATION}");
    Ok(())
}

/// Fails once Ctrl-C was seen; called wherever something is waited for.
fn go_on() -> Result<()> {
    ensure!(
        !interrupt::received(),
        "interrupted; {SPECIFICATION} is as it was"
    );
    Ok(())
}

/// Returns a command that runs `program` on the last CPU and is killed when this process ends.
///
/// Server and client share that CPU, which is then never idle, so the rate depends on CPU time
/// only. On separate CPUs, wake-ups dominate the rate in a virtual machine.
fn pinned(program: &str) -> Command {
    let last = environment::cpus() - 1;
    let mut command = process::with_parent_death_signal(Path::new("taskset"), "KILL");
    command.args(["--cpu-list", &last.to_string(), program]);
    command
}
