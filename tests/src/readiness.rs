//! Output of `reprise check`, parsed as a script would.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde::Deserialize;

use crate::host_lock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    ready: bool,
    items: Vec<Item>,
}

/// One item of the report.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Stable name.
    pub name: String,
    /// `ok`, `degraded`, `missing` or `n/a`.
    pub verdict: String,
    /// State that was found.
    pub found: String,
    /// Remedy.
    pub remedy: Option<String>,
}

/// Parses a report, which must agree with the exit status.
///
/// # Panics
/// If it does not agree or is not a report.
#[must_use]
pub fn parse(output: &Output) -> BTreeMap<String, Item> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Report = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout}; stderr: {stderr}"));
    let code = if report.ready { 0 } else { 77 };
    assert_eq!(
        output.status.code(),
        Some(code),
        "{report:?}; stderr: {stderr}"
    );
    for item in &report.items {
        let known = ["ok", "degraded", "missing", "n/a"].contains(&item.verdict.as_str());
        assert!(known && !item.found.is_empty(), "{item:?}");
        if item.verdict == "missing" {
            assert!(!report.ready && item.remedy.is_some(), "{item:?}");
            // The error output alone must name the missing requirement.
            assert!(stderr.contains(&item.name), "{item:?}; stderr: {stderr}");
        }
    }
    let count = report.items.len();
    let items: BTreeMap<_, _> = report
        .items
        .into_iter()
        .map(|item| (item.name.clone(), item))
        .collect();
    assert_eq!(items.len(), count, "duplicate name");
    items
}

/// Runs `check --json` of the binary at `path` with a command prefix.
///
/// # Panics
/// As [`parse`].
#[must_use]
pub fn check_under<S: AsRef<str>>(prefix: &[S], path: &str) -> BTreeMap<String, Item> {
    host_lock::acquire();
    let mut words = prefix.iter().map(AsRef::as_ref);
    let mut command = Command::new("timeout");
    command
        .args(["60", words.next().expect("a command")])
        .args(words)
        .args([path, "check", "--json"]);
    parse(&command.output().expect("failed to run timeout"))
}
