//! `reprise`: parse the command line, set up logging, run the command, exit with its status.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these macros panic when the reader has ended"
)]

mod logging;
mod usage;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use reprise::{
    bpf::canary,
    commands::{
        self, Failure,
        cli::{Cli, Command},
    },
    memory,
};

fn main() -> ExitCode {
    memory::return_large_blocks();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    match logging::init(&cli).and_then(|()| execute(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Without a reader of stderr, the exit status remains.
            let _ = writeln!(io::stderr(), "reprise: {failure}");
            failure.exit_code()
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => commands::run(&args),
        Command::Watch(args) => commands::watch(&args),
        Command::Record(args) => commands::record(&args),
        Command::Replay(args) => commands::replay(&args),
        Command::Advise(args) => commands::advise(&args),
        Command::Inspect(args) => commands::inspect(&args),
        Command::Check(args) => commands::check(&args),
        Command::Canary(args) => {
            canary::child_main(args.kind);
            Ok(())
        }
    }
}
