//! Parser of the metrics page in the Prometheus text format, strict enough to notice a malformed
//! page.

use std::collections::{BTreeMap, HashSet};

/// One line of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name with its suffix (`_total`, `_bucket` …).
    pub name: String,
    /// Label values by name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// A whole page.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Every sample, in the page's order.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Reads a page.
    ///
    /// # Errors
    /// Names the first line that is neither a comment nor a sample, or a sample that stands there
    /// twice.
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

    /// Samples of `name` that carry all of `labels`, and perhaps more.
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

    /// The one sample of `name` with `labels`, which must leave no choice.
    ///
    /// # Panics
    /// When several samples match: the caller forgot a label.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<_> = self.matching(name, labels).collect();
        assert!(
            found.len() <= 1,
            "{name} with {labels:?} is ambiguous: {found:?}"
        );
        found.first().map(|sample| sample.value)
    }

    /// The sum over every sample that matches; 0 where none does.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Every line whose name contains `part`, for failure messages.
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

/// Undoes the escapes of a label value up to its closing quote; returns what follows it too.
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
