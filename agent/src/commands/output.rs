//! Output of reports.

use std::fmt::Display;

use serde::Serialize;

use super::failure::Failure;

/// Prints a report as text or JSON.
pub(super) fn print(report: &(impl Display + Serialize), as_json: bool) -> Result<(), Failure> {
    if as_json {
        let json = serde_json::to_string_pretty(report);
        println!(
            "{}",
            json.map_err(|error| Failure::Runtime(error.to_string()))?
        );
    } else {
        print!("{report}");
    }
    Ok(())
}
