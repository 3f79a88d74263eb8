//! `reprise`: parse, trace, run the command, exit with its status.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use reprise::{
    cli::{Cli, Command, LogFormat},
    commands::{self, Failure},
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = trace(&cli).and_then(|()| match cli.command {
        Command::Run(args) => commands::run(&args),
        Command::Watch(args) => commands::watch(&args),
        Command::Record(args) => commands::record(&args),
        Command::Replay(args) => commands::replay(&args),
        Command::Inspect(args) => commands::inspect(&args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("reprise: {failure}");
            failure.exit_code()
        }
    }
}

fn trace(cli: &Cli) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&cli.log)
        .map_err(|error| Failure::Usage(format!("--log {}: {error}", cli.log)))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
