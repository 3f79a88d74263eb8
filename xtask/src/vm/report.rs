//! Report of a guest, parsed from its console output.

use std::fmt;

/// Maximum number of lines in [`Report::other`].
const MAX_OTHER_LINES: usize = 400;

/// Number of the agent's sensors: `handshake`, `tcp` and `wire`.
const SENSORS: usize = 3;

/// Results of all configurations of a guest.
#[derive(Debug, Default)]
pub(super) struct Report {
    expected_configurations: usize,
    expected_tests: usize,
    /// Kernel release and time of the boot, seconds.
    boot: Option<String>,
    configurations: Vec<Configuration>,
    /// Whether the guest ran to the end.
    is_complete: bool,
    /// Other output, of failed tests and of the kernel.
    other: Vec<String>,
}

/// Results of one configuration of event transport and library data.
#[derive(Debug, Default)]
struct Configuration {
    name: String,
    /// Exit status of `reprise check`.
    check_status: Option<i32>,
    /// Exit status of `reprise run`.
    run_status: Option<i32>,
    smoke: Option<Smoke>,
    owner: Option<Owned>,
    /// Sensors that load and attach, according to `reprise check`.
    sensors: usize,
    /// Other reported values, one per line.
    details: Vec<String>,
    tests: Vec<TestResult>,
}

/// Result of the smoke test.
#[derive(Debug, PartialEq, Eq)]
struct Smoke {
    /// Handshakes of curl.
    completed: u64,
    /// Handshakes that the agent counted, client and server separately.
    counted: u64,
}

/// Handshakes in three containers that the agent counted as theirs.
#[derive(Debug, PartialEq, Eq)]
struct Owned {
    /// With probes in the library.
    library: u64,
    /// From packets alone.
    packets: u64,
}

/// Result of one behaviour test.
#[derive(Debug)]
struct TestResult {
    name: String,
    status: i32,
    seconds: u64,
}

impl Report {
    /// Creates an empty report.
    pub(super) fn new(expected_configurations: usize, expected_tests: usize) -> Self {
        Self {
            expected_configurations,
            expected_tests,
            ..Self::default()
        }
    }

    /// Adds one line of the console output.
    pub(super) fn add_line(&mut self, line: &str) {
        let Some(entry) = line.strip_prefix("VM ") else {
            if !line.is_empty() && self.other.len() < MAX_OTHER_LINES {
                self.other.push(line.to_owned());
            }
            return;
        };
        let (key, value) = entry.split_once(' ').unwrap_or((entry, ""));
        match key {
            "boot" => self.boot = Some(value.to_owned()),
            "configuration" => self.configurations.push(Configuration {
                name: value.to_owned(),
                ..Configuration::default()
            }),
            "end" => self.is_complete = true,
            _ => {
                if let Some(configuration) = self.configurations.last_mut() {
                    configuration.add(key, value);
                }
            }
        }
    }

    /// Whether every configuration ran and passed.
    pub(super) fn passed(&self) -> bool {
        self.is_complete
            && self.configurations.len() == self.expected_configurations
            && self
                .configurations
                .iter()
                .all(|configuration| configuration.passed(self.expected_tests))
    }
}

impl Configuration {
    fn add(&mut self, key: &str, value: &str) {
        let mut numbers = value.split(' ').filter_map(|word| word.parse::<u64>().ok());
        match key {
            "check" => self.check_status = value.parse().ok(),
            "run" => self.run_status = value.parse().ok(),
            "smoke" => {
                let pair = numbers.next().zip(numbers.next());
                self.smoke = pair.map(|(completed, counted)| Smoke { completed, counted });
            }
            "owner" => {
                let pair = numbers.next().zip(numbers.next());
                self.owner = pair.map(|(library, packets)| Owned { library, packets });
            }
            "test" => {
                let name = value.split(' ').next().unwrap_or_default().to_owned();
                let (status, start, end) = (numbers.next(), numbers.next(), numbers.next());
                let status = status.and_then(|status| i32::try_from(status).ok());
                self.tests.push(TestResult {
                    name,
                    status: status.unwrap_or(-1),
                    seconds: end.unwrap_or(0).saturating_sub(start.unwrap_or(0)),
                });
            }
            _ => {
                let mut words = value.split_whitespace();
                let sensor = words.next() == Some("ok")
                    && words.next().is_some_and(|name| name.starts_with("sensor:"));
                self.sensors += usize::from(key == "detail" && sensor);
                self.details.push(format!("{key} {value}"));
            }
        }
    }

    /// Whether all sensors attach, all tests passed, three handshakes of curl were counted at both
    /// ends, and those in containers as theirs.
    fn passed(&self, expected_tests: usize) -> bool {
        let smoke = Smoke {
            completed: 3,
            counted: 6,
        };
        self.check_status == Some(0)
            && self.run_status == Some(0)
            && self.sensors == SENSORS
            && self.smoke == Some(smoke)
            && self.owner == Some(self.expected_owner())
            && self.tests.len() == expected_tests
            && self.tests.iter().all(|test| test.status == 0)
    }

    /// The programs for perf event arrays do not read the cgroups of sockets.
    fn expected_owner(&self) -> Owned {
        Owned {
            library: 3,
            packets: if self.name.starts_with("perf") { 0 } else { 3 },
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, expected_tests: usize) -> fmt::Result {
        let verdict = verdict(self.passed(expected_tests));
        writeln!(f, "-- configuration {}: {verdict}", self.name)?;
        for detail in &self.details {
            writeln!(f, "  {detail}")?;
        }
        match &self.smoke {
            Some(Smoke { completed, counted }) => writeln!(
                f,
                "  smoke: {completed} handshakes of curl, {counted} counted at both ends"
            )?,
            None => writeln!(f, "  smoke: no result")?,
        }
        match &self.owner {
            Some(Owned { library, packets }) => writeln!(
                f,
                "  owners: of 3 handshakes in containers, {library} by probes, {packets} by packets"
            )?,
            None => writeln!(f, "  owners: no result")?,
        }
        for test in &self.tests {
            let verdict = self::verdict(test.status == 0);
            writeln!(f, "  {}: {verdict} ({} s)", test.name, test.seconds)?;
        }
        let status = |status: Option<i32>| {
            status.map_or_else(|| "none".to_owned(), |status| status.to_string())
        };
        writeln!(
            f,
            "  exit statuses: check {}, run {}",
            status(self.check_status),
            status(self.run_status)
        )
    }
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.boot.as_deref().and_then(|boot| boot.split_once(' ')) {
            Some((release, seconds)) => writeln!(f, "booted {release} in {seconds} s")?,
            None => writeln!(f, "did not boot")?,
        }
        for configuration in &self.configurations {
            configuration.write(f, self.expected_tests)?;
        }
        if !self.passed() {
            let end = if self.is_complete {
                "ran to the end"
            } else {
                "did not run to the end"
            };
            writeln!(f, "the guest {end}; other output:")?;
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

    fn parse(text: &str) -> Report {
        let mut report = Report::new(1, 1);
        text.lines().for_each(|line| report.add_line(line));
        report
    }

    const PASSED: &str = "VM boot 5.10.0 4.5\nVM configuration perf auto\nVM check 0\nVM smoke 3 6\n\
                          VM detail ok        sensor:handshake  loads and attaches\n\
                          VM detail ok        sensor:tcp        loads and attaches\n\
                          VM detail ok        sensor:wire       loads and attaches\n\
                          VM metric x 1\nVM run 0\nVM owner 3 0\nVM test loss:a 0 10 14\nVM end\n";

    #[test]
    fn a_report_passes_only_if_complete_and_successful() {
        assert!(parse(PASSED).passed(), "{}", parse(PASSED));
        for line in PASSED
            .lines()
            .filter(|line| !line.contains("metric") && !line.contains("boot"))
        {
            let incomplete = PASSED.replace(line, "");
            assert!(!parse(&incomplete).passed(), "without {line}");
        }
        for (passed, failed) in [
            ("smoke 3 6", "smoke 3 5"),
            ("a 0 10", "a 101 10"),
            ("check 0", "check 77"),
            ("ok        sensor:wire", "degraded  sensor:wire"),
        ] {
            assert!(!parse(&PASSED.replace(passed, failed)).passed(), "{failed}");
        }
    }

    #[test]
    fn a_failed_report_shows_the_other_output() {
        let text = parse("VM boot 5.10.0 4.5\nVM configuration perf auto\npanicked at x\n");
        let text = text.to_string();
        assert!(
            text.contains("  | panicked at x") && text.contains("did not run to the end"),
            "{text}"
        );
    }
}
