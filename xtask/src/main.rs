//! `cargo xtask`: the commands of this repository, one module per command.

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
mod soak;
mod steps;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Commands of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the dependencies of builds and tests (as root)
    Setup(setup::Args),
    /// Install dependencies, then lint, build and run every test
    Test(test::Args),
    /// Install dependencies, build, and observe a server with clients
    Demo(demo::Args),
    /// Run the agent and some behaviour tests on other kernels, in virtual machines
    Vm(vm::Args),
    /// Generate the dashboards, the Kubernetes objects of the rules and the metrics reference
    Generate(generate::Args),
    /// Build the release archive and its checksum
    Dist(dist::Args),
    /// Measure the cost of the agent and write it to SPECIFICATION.md
    Bench(bench::Args),
    /// Run the agent under churn and attacks for some minutes, and report what must not grow
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => setup::run(args.purpose()),
        Command::Test(args) => return test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Dist(args) => dist::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Soak(args) => soak::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
