//! What a guest said, line by line, and whether that is enough.

use std::fmt;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Report {
    ways_wanted: usize,
    tests_wanted: usize,
    /// What the guest said of its kernel: the release it booted, and when.
    boot: Option<String>,
    ways: Vec<Way>,
    ended: bool,
    /// The last lines that are no part of the report: what failed tests and the kernel print.
    rest: Vec<String>,
}

/// What was said of one choice of transport and library data.
#[derive(Debug, Default)]
struct Way {
    name: String,
    check: Option<i32>,
    stopped: Option<i32>,
    /// Handshakes that curl made, and how many were counted at both ends.
    smoke: Option<(u64, u64)>,
    facts: Vec<String>,
    /// Name, exit status, seconds.
    tests: Vec<(String, i32, u64)>,
}

/// Lines kept of what is no part of the report.
const REST: usize = 400;

impl Report {
    pub(super) fn new(ways_wanted: usize, tests_wanted: usize) -> Self {
        Self {
            ways_wanted,
            tests_wanted,
            ..Self::default()
        }
    }

    /// Takes one line.
    pub(super) fn line(&mut self, line: &str) {
        let Some(said) = line.strip_prefix("VM ") else {
            if !line.is_empty() && self.rest.len() < REST {
                self.rest.push(line.to_owned());
            }
            return;
        };
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        match word {
            "boot" => self.boot = Some(rest.to_owned()),
            "way" => self.ways.push(Way {
                name: rest.to_owned(),
                ..Way::default()
            }),
            "end" => self.ended = true,
            _ => {
                if let Some(way) = self.ways.last_mut() {
                    way.line(word, rest);
                }
            }
        }
    }

    /// Whether everything was tried and went well.
    pub(super) fn passed(&self) -> bool {
        self.ended
            && self.ways.len() == self.ways_wanted
            && self.ways.iter().all(|way| way.passed(self.tests_wanted))
    }
}

impl Way {
    fn line(&mut self, word: &str, rest: &str) {
        let mut numbers = rest.split(' ').filter_map(|word| word.parse::<u64>().ok());
        match word {
            "check" => self.check = rest.parse().ok(),
            "stopped" => self.stopped = rest.parse().ok(),
            "smoke" => self.smoke = numbers.next().zip(numbers.next()),
            "test" => {
                let name = rest.split(' ').next().unwrap_or_default().to_owned();
                let (status, from, to) = (numbers.next(), numbers.next(), numbers.next());
                let status = status.and_then(|status| i32::try_from(status).ok());
                let seconds = to.unwrap_or(0).saturating_sub(from.unwrap_or(0));
                self.tests.push((name, status.unwrap_or(-1), seconds));
            }
            _ => self.facts.push(format!("{word} {rest}")),
        }
    }

    /// curl's three handshakes, each at both ends; every test.
    fn passed(&self, tests: usize) -> bool {
        self.check == Some(0)
            && self.stopped == Some(0)
            && self.smoke == Some((3, 6))
            && self.tests.len() == tests
            && self.tests.iter().all(|(_, status, _)| *status == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.boot.as_deref().and_then(|boot| boot.split_once(' ')) {
            Some((release, seconds)) => writeln!(f, "booted {release} in {seconds} s")?,
            None => writeln!(f, "did not boot")?,
        }
        for way in &self.ways {
            let verdict = if way.passed(self.tests_wanted) {
                "ok"
            } else {
                "FAILED"
            };
            writeln!(f, "-- asked for {}: {verdict}", way.name)?;
            for fact in &way.facts {
                writeln!(f, "  {fact}")?;
            }
            match way.smoke {
                Some((made, counted)) => {
                    writeln!(
                        f,
                        "  smoke: curl made {made}, counted at both ends {counted}"
                    )?;
                }
                None => writeln!(f, "  smoke: not told")?,
            }
            for (name, status, seconds) in &way.tests {
                let verdict = if *status == 0 { "ok" } else { "FAILED" };
                writeln!(f, "  {name}: {verdict} ({seconds} s)")?;
            }
            let status = |status: Option<i32>| {
                status.map_or("not told".to_owned(), |status| status.to_string())
            };
            writeln!(
                f,
                "  exit statuses: check {}, run {}",
                status(way.check),
                status(way.stopped)
            )?;
        }
        if !self.passed() {
            let end = if self.ended {
                "to the end"
            } else {
                "not to the end"
            };
            writeln!(f, "it ran {end}; what else it printed:")?;
            for line in &self.rest {
                writeln!(f, "  | {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Report {
        let mut report = Report::new(1, 1);
        text.lines().for_each(|line| report.line(line));
        report
    }

    const GOOD: &str = "VM boot 5.10.0 4.5\nVM way perf auto\nVM check 0\nVM smoke 3 6\nVM metric x 1\n\
                        VM stopped 0\nVM test loss:a 0 10 14\nVM end\n";

    #[test]
    fn all_that_was_asked_for_must_be_told_and_good() {
        assert!(read(GOOD).passed(), "{}", read(GOOD));
        for line in GOOD
            .lines()
            .filter(|line| !line.contains("metric") && !line.contains("boot"))
        {
            let less = GOOD.replace(line, "");
            assert!(!read(&less).passed(), "without {line}");
        }
        for (good, bad) in [
            ("smoke 3 6", "smoke 3 5"),
            ("a 0 10", "a 101 10"),
            ("check 0", "check 77"),
        ] {
            assert!(!read(&GOOD.replace(good, bad)).passed(), "{bad}");
        }
    }

    #[test]
    fn what_fails_is_shown_with_what_the_guest_printed() {
        let text = read("VM boot 5.10.0 4.5\nVM way perf auto\npanicked at x\n").to_string();
        assert!(
            text.contains("  | panicked at x") && text.contains("not to the end"),
            "{text}"
        );
    }
}
