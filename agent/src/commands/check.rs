//! `reprise check`: whether handshakes can be observed on this host. One line per requirement, with
//! the finding and the remedy. `facts` queries the host; the rest is pure.

mod facts;
mod item;
mod kernel;
mod permission;
mod report;
mod sensing;
#[cfg(test)]
mod tests;

use self::{facts::Facts, report::Report};
use super::{cli::Check, failure::Failure, output};

/// Prints the report of this host.
///
/// # Errors
///
/// [`Failure::Host`] if a requirement is missing.
pub fn check(args: &Check) -> Result<(), Failure> {
    let facts = Facts::gather(args.loading.request())
        .map_err(|incompatible| Failure::Usage(incompatible.to_string()))?;
    let report = Report::from_facts(&facts);
    output::print(&report, args.json)?;
    if report.ready {
        return Ok(());
    }
    Err(Failure::Host(format!(
        "this host is not ready: {}; the report has the remedies",
        report.missing().join(", ")
    )))
}
