//! One measurement of the agent.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context as _, Result};

/// Measurement at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Time since the start of the load, seconds.
    pub(super) at: f64,
    /// Resident memory, MiB.
    pub(super) rss: f64,
    /// Number of open descriptors.
    pub(super) descriptors: f64,
    /// Entries of hash maps, by map.
    pub(super) map_entries: BTreeMap<String, f64>,
    /// Lines of the log since the start.
    pub(super) log_lines: f64,
    /// Lost events since the start.
    pub(super) lost: f64,
}

impl Sample {
    /// Parses `/proc/PID/status`, the output of `map_entries.py` and the metrics page.
    pub(super) fn parse(
        at: Duration,
        status: &str,
        descriptors: usize,
        map_entries: &str,
        log_lines: usize,
        metrics: &str,
    ) -> Result<Self> {
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
            .and_then(|kib| kib.parse::<f64>().ok())
            .context("failed to find the resident memory")?;
        let entry = |line: &str| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let lost = metrics
            .lines()
            .filter(|line| line.starts_with("reprise_events_lost_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(Self {
            at: at.as_secs_f64(),
            rss: rss / 1024.0,
            descriptors: descriptors as f64,
            map_entries: map_entries.lines().filter_map(entry).collect(),
            log_lines: log_lines as f64,
            lost: lost.sum(),
        })
    }

    /// Entries of all maps.
    pub(super) fn all_entries(&self) -> f64 {
        self.map_entries.values().sum()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:5.0} s: RSS {:.1} MiB, {} descriptors, {} map entries, {} log lines, {} events lost",
            self.at,
            self.rss,
            self.descriptors,
            self.all_entries(),
            self.log_lines,
            self.lost
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_by_name() {
        let sample = Sample::parse(
            Duration::from_secs(10),
            "Name:\treprise\nVmHWM:\t9216 kB\nVmRSS:\t  2048 kB\n",
            40,
            "HS_OPEN 3\nHS_TASKS 12\n",
            7,
            "reprise_events_lost_total{sensor=\"tcp\"} 2\nreprise_events_total{sensor=\"tcp\"} 9\n\
             reprise_events_lost_total{sensor=\"wire\"} 1\n",
        )
        .unwrap();
        assert_eq!((sample.rss, sample.all_entries()), (2.0, 15.0));
        assert_eq!((sample.lost, sample.log_lines), (3.0, 7.0));
        assert!(Sample::parse(Duration::ZERO, "", 0, "", 0, "").is_err());
    }
}
