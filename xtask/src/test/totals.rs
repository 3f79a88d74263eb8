//! Sums of the result lines that the test harness (`test result:`) and cargo-nextest (`Summary`)
//! print.

use std::fmt;

/// Numbers of passed, failed and skipped tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Those among the passed ones that failed at their first attempt.
    pub(super) flaky: u64,
}

impl Totals {
    /// Adds the counts of a line if it is a result line of the test harness or cargo-nextest.
    pub(super) fn add_line(&mut self, line: &str) {
        let harness = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
            .map(|(_, counts)| counts);
        let Some(counts) = harness.or_else(|| nextest_counts(line)) else {
            return;
        };
        // cargo-nextest: `275 passed (2 slow, 1 flaky), 1 failed`.
        for count in counts.split([';', ',', '(', ')']) {
            let mut words = count.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                // cargo-nextest: `1 exec failed`, `1 timed out`.
                (Some(number), Some("failed" | "exec" | "timed")) => self.failed += number,
                (Some(number), Some("ignored" | "skipped")) => self.skipped += number,
                (Some(number), Some("flaky")) => self.flaky += number,
                _ => {}
            }
        }
    }
}

/// Returns the counts in a line such as `Summary [ 1.2s] 3 tests run: 2 passed (1 slow), 1 failed,
/// 0 skipped`.
///
/// An interrupted run has `3/5 tests run`.
fn nextest_counts(line: &str) -> Option<&str> {
    let (_, rest) = line
        .trim_start()
        .strip_prefix("Summary [")?
        .split_once(']')?;
    Some(rest.split_once(" run: ")?.1)
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_result_lines_are_counted() {
        let mut totals = Totals::default();
        for line in [
            "running 4 tests",
            "test a ... ok",
            "test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "a test result: ok. 9 passed",
        ] {
            totals.add_line(line);
        }
        assert_eq!(totals.to_string(), "6 passed, 3 failed, 1 skipped");
    }

    #[test]
    fn nextest_summaries_are_counted() {
        let mut totals = Totals::default();
        for line in [
            "     Summary [   1.204s] 9 tests run: 5 passed (2 slow, 3 flaky, 1 leaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped",
            "     Summary [   0.004s] 1 test run: 1 passed, 0 skipped",
            "        PASS [   0.004s] reprise-tests::behaviour chart::summary",
        ] {
            totals.add_line(line);
        }
        assert_eq!(totals.to_string(), "6 passed, 4 failed, 3 skipped");
        assert_eq!(totals.flaky, 3);
    }
}
