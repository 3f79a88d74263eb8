//! Output of reports.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

use serde::Serialize;

use super::failure::Failure;

/// Prints a report as text or JSON.
pub(super) fn print(report: &(impl Display + Serialize), as_json: bool) -> Result<(), Failure> {
    let text = if as_json {
        let json = serde_json::to_string_pretty(report);
        let json = json.map_err(|error| Failure::Runtime(error.to_string()))?;
        format!("{json}\n")
    } else {
        report.to_string()
    };
    let mut out = io::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Result of writing to stdout. A reader that has ended, as `head` does, is a success.
pub(super) fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Runtime(format!(
            "failed to write to stdout: {error}"
        ))),
        _ => Ok(()),
    }
}
