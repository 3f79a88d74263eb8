//! Strict parser of the metrics page in the Prometheus text format.

use std::collections::{BTreeMap, HashSet};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name with suffix (`_total`, `_bucket` …).
    pub name: String,
    /// Label values by name.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// All samples of a page.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Samples in the order of the page.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Parses a page.
    ///
    /// # Errors
    /// Names the first line that is neither a comment nor a sample, or a duplicate sample.
    pub fn parse(page: &str) -> Result<Self, String> {
        let mut samples: Vec<Sample> = Vec::new();
        let mut seen = HashSet::new();
        for line in page
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let sample = parse_line(line).ok_or_else(|| format!("no sample: {line:?}"))?;
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(format!("twice on the page: {line:?}"));
            }
            samples.push(sample);
        }
        Ok(Self { samples })
    }

    /// Returns the samples of `name` with all of `labels`; they may have more labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, want)| sample.labels.get(*key).is_some_and(|have| have == want))
        })
    }

    /// Returns the only sample of `name` with `labels`.
    ///
    /// # Panics
    /// If several samples match: the caller has omitted a label.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<_> = self.matching(name, labels).collect();
        assert!(
            found.len() <= 1,
            "{name} with {labels:?} is ambiguous: {found:?}"
        );
        found.first().map(|sample| sample.value)
    }

    /// Returns the sum of all matching samples; 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Returns every line whose name contains `part`, for failure messages.
    #[must_use]
    pub fn show(&self, part: &str) -> String {
        let lines = self
            .samples
            .iter()
            .filter(|s| s.name.contains(part) && s.value != 0.0);
        lines
            .map(|s| format!("\n  {} {:?} = {}", s.name, s.labels, s.value))
            .collect()
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Unescapes a label value up to its closing quote; returns the text after it too.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
