//! Errors of the command line.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::error::ErrorKind;

/// Prints help and version, or an error in one line that names the flag.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if error.exit_code() == 0 || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        // An error while printing the help cannot be reported anywhere else.
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
        // Without a reader of stderr, the exit status remains.
        let _ = writeln!(io::stderr(), "reprise: {line}{details}; see --help");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
