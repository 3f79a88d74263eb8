//! Report of a guest that is locked down for confidentiality, parsed from its console output.

use std::fmt;

/// Expected results: each command names the lockdown and exits with 77, whatever is mounted.
const EXPECTED: [&str; 6] = [
    "bare check 77 1",
    "bare run 77 1",
    "tracefs check 77 1",
    "tracefs run 77 1",
    "securityfs check 77 1",
    "securityfs run 77 1",
];

/// Results of the agent in the guest.
#[derive(Debug, Default)]
pub(super) struct LockdownReport {
    /// Mounted file system, command, exit status and number of lines that name the lockdown.
    results: Vec<String>,
    /// Whether the guest ran to the end, which a crash of the kernel prevents.
    is_complete: bool,
    /// Other output.
    other: Vec<String>,
}

impl LockdownReport {
    /// Adds one line of the console output.
    pub(super) fn add_line(&mut self, line: &str) {
        match line.strip_prefix("VM lockdown ") {
            Some(result) => self.results.push(result.to_owned()),
            None if line == "VM end" => self.is_complete = true,
            None => self.other.push(line.to_owned()),
        }
    }

    /// Whether the agent reported the lockdown each time and the kernel did not crash.
    pub(super) fn passed(&self) -> bool {
        self.is_complete && self.results == EXPECTED
    }
}

impl fmt::Display for LockdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        writeln!(f, "-- lockdown=confidentiality: {verdict}")?;
        for result in &self.results {
            writeln!(f, "  {result}")?;
        }
        if !self.passed() {
            for line in &self.other {
                writeln!(f, "  | {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> LockdownReport {
        let mut report = LockdownReport::default();
        text.lines().for_each(|line| report.add_line(line));
        report
    }

    #[test]
    fn a_crash_or_another_status_fails() {
        let lines: String = EXPECTED
            .map(|result| format!("VM lockdown {result}\n"))
            .concat();
        let complete = format!("VM boot 6.12 4.5\n{lines}VM end\n");
        assert!(parse(&complete).passed(), "{}", parse(&complete));
        assert!(!parse(&lines).passed(), "the kernel crashed");
        let observed = complete.replace("bare run 77 1", "bare run 0 0");
        assert!(!parse(&observed).passed());
        let text = parse("list_del corruption\n").to_string();
        assert!(text.contains("  | list_del corruption"), "{text}");
    }
}
