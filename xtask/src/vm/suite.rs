//! The behaviour tests that run in the guests.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};

use crate::paths;

/// Tests of one test binary.
struct Selection {
    /// Test binary.
    binary: &'static str,
    /// Names of the tests in it.
    tests: &'static [&'static str],
}

/// All tests. The root file system contains the programs and files that they need.
const TESTS: &[Selection] = &[Selection {
    binary: "behaviour",
    tests: &[
        "kernels::the_default_mode",
        "offers::python_offers",
        "loss::a_lost_client_hello",
        "loss::a_lost_syn",
        "loss::all_data_of_the_client_is_lost",
    ],
}];

/// Tests of a brief run.
const BRIEF_TESTS: &[Selection] = &[Selection {
    binary: "behaviour",
    tests: &["kernels::the_default_mode"],
}];

/// A compiled test binary.
pub(super) struct TestBinary {
    /// Name without the hash of cargo.
    pub(super) name: &'static str,
    /// Path of the executable.
    pub(super) path: PathBuf,
}

fn selections(brief: bool) -> &'static [Selection] {
    if brief { BRIEF_TESTS } else { TESTS }
}

/// Returns the names of the tests, each as `BINARY:TEST`.
pub(super) fn test_names(brief: bool) -> Vec<String> {
    selections(brief)
        .iter()
        .flat_map(|selection| {
            let name = |test| format!("{}:{test}", selection.binary);
            selection.tests.iter().map(name)
        })
        .collect()
}

/// Compiles the test binaries.
pub(super) fn build(brief: bool) -> Result<Vec<TestBinary>> {
    let selections = selections(brief);
    let mut cargo = paths::cargo();
    cargo.args(["test", "--package", "reprise-tests", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics");
    for selection in selections {
        cargo.args(["--test", selection.binary]);
    }
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(
        output.status.success(),
        "failed to build the tests ({})",
        output.status
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    let executables: Vec<_> = messages
        .lines()
        .filter_map(xtask::bpf::executable)
        .collect();
    selections
        .iter()
        .map(|selection| {
            let path = executables
                .iter()
                .find(|path| binary_name(path) == Some(selection.binary))
                .with_context(|| format!("failed to find the test binary {}", selection.binary))?;
            Ok(TestBinary {
                name: selection.binary,
                path: path.clone(),
            })
        })
        .collect()
}

/// Returns the file name of an executable without the hash of cargo.
fn binary_name(path: &Path) -> Option<&str> {
    Some(path.file_name()?.to_str()?.rsplit_once('-')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_exists() {
        // The test harness also succeeds if no test has the requested name.
        for selection in TESTS {
            let directory = paths::workspace()
                .join("tests/tests")
                .join(selection.binary);
            for test in selection.tests {
                let (module, function) = test.split_once("::").unwrap();
                let path = directory.join(module).with_extension("rs");
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.contains(&format!("\nfn {function}()")), "{test}");
            }
        }
    }

    #[test]
    fn brief_tests_are_a_subset() {
        let all = test_names(false);
        for test in test_names(true) {
            assert!(all.contains(&test), "{test}");
        }
    }
}
