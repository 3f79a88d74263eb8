//! `cargo xtask`: the project's own commands, one file per verb.

mod bench;
mod build;
mod certificate;
mod demo;
mod dist;
mod generate;
mod interrupt;
#[cfg(test)]
mod layering;
mod page;
mod paths;
mod process;
mod setup;
mod steps;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install what builds and tests need (as root)
    Setup(setup::Args),
    /// Set up, then lint, build and run every test
    Test(test::Args),
    /// Set up, build, start servers and clients, and watch them
    Demo(demo::Args),
    /// Boot other kernels, and run the agent and tests of the suite on each
    Vm(vm::Args),
    /// Write the dashboards, the rules' Kubernetes objects and the metrics reference
    Generate(generate::Args),
    /// Build the release archive and its checksum
    Dist(dist::Args),
    /// Measure what the agent costs, and write it to SPECIFICATION.md
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup(args) => setup::run(args.purpose()),
        Verb::Test(args) => return test::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Vm(args) => vm::run(&args),
        Verb::Generate(args) => generate::run(&args),
        Verb::Dist(args) => dist::run(&args),
        Verb::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
