//! Summary of a run, and its comparison with other runs.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::sample::Sample;

/// Largest relative difference between two runs that counts as noise.
const TOLERANCE: f64 = 0.1;

/// Handshakes of the control client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accuracy {
    /// As the client counts them.
    pub(super) made: u64,
    /// As the agent counts them.
    pub(super) counted: u64,
}

/// Values of one run, by name.
#[derive(Debug, Clone)]
pub(super) struct Report {
    minutes: u64,
    values: BTreeMap<String, f64>,
}

impl Report {
    /// Summarises the second half of the samples, when every cache is warm; `None` with fewer than
    /// two samples there.
    pub(super) fn new(minutes: u64, samples: &[Sample], accuracy: Accuracy) -> Option<Self> {
        let steady = &samples[samples.len() / 2..];
        let (first, last) = (steady.first()?, steady.last()?);
        let elapsed = (last.at - first.at) / 60.0;
        if elapsed <= 0.0 {
            return None;
        }
        let mean = |value: &dyn Fn(&Sample) -> f64| {
            steady.iter().map(value).sum::<f64>() / steady.len() as f64
        };
        let mut values = BTreeMap::from([
            ("memory, MiB".to_owned(), mean(&|sample| sample.rss)),
            ("descriptors".to_owned(), mean(&|sample| sample.descriptors)),
            ("map entries".to_owned(), mean(&Sample::all_entries)),
            (
                "log lines per minute".to_owned(),
                (last.log_lines - first.log_lines) / elapsed,
            ),
            ("events lost".to_owned(), last.lost),
            (
                "control handshakes not counted".to_owned(),
                accuracy.made as f64 - accuracy.counted as f64,
            ),
        ]);
        for map in last.map_entries.keys() {
            let entries = mean(&|sample| sample.map_entries.get(map).copied().unwrap_or(0.0));
            values.insert(format!("map entries: {map}"), entries);
        }
        Some(Self { minutes, values })
    }

    /// Reads the saved reports.
    pub(super) fn load_all(store: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(store).context("failed to list the reports")?;
        entries
            .flatten()
            .map(|entry| {
                let text = fs::read(entry.path()).context("failed to read a report")?;
                let report: Value = serde_json::from_slice(&text)?;
                let minutes = report["minutes"].as_u64();
                let values = report["values"].as_object().into_iter().flatten();
                Ok(Self {
                    minutes: minutes.context("failed to parse a report")?,
                    values: values
                        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                        .collect(),
                })
            })
            .collect()
    }

    /// Saves the report; replaces that of an earlier run of the same length.
    pub(super) fn save(&self, store: &Path) -> Result<()> {
        let report = json!({"minutes": self.minutes, "values": self.values});
        let path = store.join(format!("{}.json", self.minutes));
        fs::write(path, report.to_string()).context("failed to save the report")
    }

    /// The difference to another run, value by value.
    pub(super) fn compare(&self, other: &Self) -> String {
        let mut text = format!("difference to the run of {} min\n", other.minutes);
        for (name, value) in &self.values {
            let Some(earlier) = other.values.get(name) else {
                continue;
            };
            let change = (value - earlier) / earlier.max(1.0);
            let verdict = match change.abs() < TOLERANCE {
                true => "",
                false => "  <- more than 10 %",
            };
            text += &format!("  {name}: {:+.1} %{verdict}\n", 100.0 * change);
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "second half of {} min, mean values", self.minutes)?;
        for (name, value) in &self.values {
            writeln!(f, "  {name}: {value:.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, rss: f64) -> Sample {
        Sample {
            at,
            rss,
            descriptors: 40.0,
            map_entries: BTreeMap::from([("HS_OPEN".to_owned(), rss)]),
            log_lines: at / 30.0,
            lost: 0.0,
        }
    }

    fn report(minutes: u64, rss: f64) -> Report {
        let samples = [sample(0.0, 1.0), sample(30.0, 900.0), sample(60.0, rss)];
        let samples = [&samples[..], &[sample(90.0, rss)]].concat();
        let accuracy = Accuracy {
            made: 10,
            counted: 9,
        };
        Report::new(minutes, &samples, accuracy).unwrap()
    }

    #[test]
    fn the_second_half_is_summarised() {
        let report = report(5, 100.0);
        for (name, expected) in [
            ("memory, MiB", 100.0),
            ("map entries: HS_OPEN", 100.0),
            ("log lines per minute", 2.0),
            ("control handshakes not counted", 1.0),
        ] {
            assert_eq!(report.values[name], expected, "{name}");
        }
    }

    #[test]
    fn growth_is_marked() {
        let store = std::env::temp_dir().join(format!("reprise-soak-test-{}", std::process::id()));
        fs::create_dir_all(&store).unwrap();
        report(5, 100.0).save(&store).unwrap();
        let earlier = Report::load_all(&store).unwrap();
        fs::remove_dir_all(&store).unwrap();
        let text = report(20, 150.0).compare(&earlier[0]);
        assert!(text.contains("memory, MiB: +50.0 %  <-"), "{text}");
        assert!(text.contains("descriptors: +0.0 %\n"), "{text}");
    }
}
