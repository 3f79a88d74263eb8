//! Log output.

use std::io::{self, IsTerminal as _};

use reprise::commands::{
    Failure,
    cli::{Cli, Command, LogFormat},
};
use tracing_subscriber::EnvFilter;

/// Writes log messages to stderr, as the flags request.
pub(crate) fn init(cli: &Cli) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&cli.log)
        .map_err(|error| Failure::Usage(format!("--log {}: {error}", cli.log)))?;
    // The interactive table occupies the terminal, and shows detached sensors and lost events
    // itself.
    let is_interactive = matches!(cli.command, Command::Watch(_))
        && io::stdout().is_terminal()
        && io::stderr().is_terminal();
    let filter = if is_interactive {
        EnvFilter::new("off")
    } else {
        filter
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // The subscriber would report a failed write on stderr, and panic there when the reader of
        // stderr has ended. The agent observes without a log then.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match cli.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
