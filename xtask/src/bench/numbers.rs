//! Statistics, and parsers for the output of tools and for metrics pages.

/// Returns the median, `None` if there are no values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        Some(f64::midpoint(sorted[middle - 1], upper))
    } else {
        Some(upper)
    }
}

/// Returns minimum and maximum.
pub(super) fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
}

/// Returns the number of connections in the output of `openssl s_time` (`7660 connections in 2 real
/// seconds, …`).
pub(super) fn connections(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.contains(" real seconds"))?;
    line.split_once(" connections in ")?.0.trim().parse().ok()
}

/// Returns a value that a benchmark of the agent prints as `name value`.
pub(super) fn bench_value(output: &str, name: &str) -> Option<f64> {
    output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| *first == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// Sample of a metrics page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    labels: &'a str,
    /// Value.
    pub(super) value: f64,
}

impl<'a> Sample<'a> {
    /// Returns the value of a label, which must not contain commas or quotes.
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"'))
    }
}

/// Returns the samples with this name.
pub(super) fn samples<'a>(page: &'a str, name: &str) -> impl Iterator<Item = Sample<'a>> {
    page.lines().filter_map(move |line| {
        let (labels, value) = match line.strip_prefix(name)? {
            rest if rest.starts_with('{') => rest[1..].rsplit_once("} ")?,
            rest => ("", rest.strip_prefix(' ')?),
        };
        let value = value.trim().parse().ok()?;
        Some(Sample { labels, value })
    })
}

/// Returns the sum of the samples with these labels, 0 if there are none.
pub(super) fn sum(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    samples(page, name)
        .filter(|sample| {
            labels
                .iter()
                .all(|(key, value)| sample.label(key) == Some(value))
        })
        .map(|sample| sample.value)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_range() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(range(&[2.0, 1.0, 3.0]), (1.0, 3.0));
    }

    #[test]
    fn connections_of_s_time() {
        let output = "Now timing with session id reuse.\nstarting\nrrr\n\n\
            7660 connections in 0.42s; 18238.10 connections/user sec, bytes read 1110700\n\
            7660 connections in 2 real seconds, 145 bytes read per connection\n";
        assert_eq!(connections(output), Some(7660));
        assert_eq!(connections("No CIPHER specified\n"), None);
    }

    #[test]
    fn values_of_a_benchmark() {
        assert_eq!(
            bench_value("noise\nthroughput 8621698.4\n", "throughput"),
            Some(8_621_698.4)
        );
        assert_eq!(bench_value("throughputs 1\n", "throughput"), None);
    }

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = "# HELP runs_total x\n\
            runs_total{program=\"a\",role=\"server\"} 2\nruns_total{program=\"b\",role=\"server\"} 3.5\n\
            runs_total_more{program=\"a\"} 9\nresident 42\n";
        assert_eq!(sum(page, "runs_total", &[]), 5.5);
        assert_eq!(sum(page, "runs_total", &[("program", "a")]), 2.0);
        let both = [("role", "server"), ("program", "b")];
        assert_eq!(sum(page, "runs_total", &both), 3.5);
        assert_eq!(sum(page, "resident", &[]), 42.0);
        assert_eq!(sum(page, "absent", &[]), 0.0);
        let first = samples(page, "runs_total").next().unwrap();
        assert_eq!(first.label("program"), Some("a"));
        assert_eq!(first.label("other"), None);
    }
}
