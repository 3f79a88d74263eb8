//! `reprise`: parse, trace, run the command, exit with its status.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};
use reprise::{
    bpf::canary,
    commands::{
        self, Failure,
        cli::{Cli, Command, LogFormat},
    },
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    reprise::memory::return_large_blocks();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let result = trace(&cli).and_then(|()| match cli.command {
        Command::Run(args) => commands::run(&args),
        Command::Watch(args) => commands::watch(&args),
        Command::Record(args) => commands::record(&args),
        Command::Replay(args) => commands::replay(&args),
        Command::Inspect(args) => commands::inspect(&args),
        Command::Check(args) => commands::check(&args),
        Command::Canary(args) => {
            canary::child_main(args.kind);
            Ok(())
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("reprise: {failure}");
            failure.exit_code()
        }
    }
}

/// Help and version as asked for; anything else is one line that names the flag.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.exit_code() == 0 || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        // Nothing is left to say where not even the help can be printed.
        let _ = error.print();
    } else {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        let line = line.strip_prefix("error: ").unwrap_or(line);
        let missing: Vec<_> = text
            .lines()
            .skip(1)
            .filter(|line| line.starts_with("  "))
            .collect();
        let details = if line.ends_with(':') {
            missing.concat()
        } else {
            String::new()
        };
        eprintln!("reprise: {line}{details}; see --help");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn trace(cli: &Cli) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&cli.log)
        .map_err(|error| Failure::Usage(format!("--log {}: {error}", cli.log)))?;
    // On a terminal the live table is drawn where log lines would go; it tells itself what is not attached and what was lost.
    let drawn = matches!(cli.command, Command::Watch(_))
        && std::io::stdout().is_terminal()
        && std::io::stderr().is_terminal();
    let filter = if drawn { EnvFilter::new("off") } else { filter };
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
