//! One measurement of the agent.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context as _, Result};

/// Names of mapped event buffers: ring buffers, and those of perf events.
const EVENT_BUFFERS: [&str; 2] = ["anon_inode:bpf-map", "anon_inode:[perf_event]"];

/// Measurement at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Time since the start of the load, seconds.
    pub(super) at: f64,
    /// Resident memory without the event buffers, MiB.
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
    /// Parses `/proc/PID/smaps`, the output of `map_entries.py` and the metrics page.
    pub(super) fn parse(
        at: Duration,
        smaps: &str,
        descriptors: usize,
        map_entries: &str,
        log_lines: usize,
        metrics: &str,
    ) -> Result<Self> {
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
            rss: private_kib(smaps).context("failed to find the resident memory")? / 1024.0,
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

/// Resident memory of all mappings but the event buffers, which the kernel has allocated before the
/// agent starts to read, and whose pages become resident as events fill them.
fn private_kib(smaps: &str) -> Option<f64> {
    let mut is_counted = true;
    let mut sum = None;
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if first.contains('-') {
            is_counted = !EVENT_BUFFERS.iter().any(|name| rest.ends_with(name));
        } else if first == "Rss:" && is_counted {
            let kib: f64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
            sum = Some(sum.unwrap_or(0.0) + kib);
        }
    }
    sum
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:5.0} s: {:.1} MiB, {} descriptors, {} map entries, {} log lines, {} events lost",
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
            "5590-5591 r--p 00000000 fd:00 7    /usr/bin/reprise\nSize:  4096 kB\nRss:   1536 kB\n\
             7f00-7f01 rw-s 00000000 00:0e 9    anon_inode:bpf-map\nRss:    4096 kB\n\
             7f01-7f02 rw-p 00000000 00:00 0 \nRss:     512 kB\nPss:      128 kB\n",
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
