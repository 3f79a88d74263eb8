//! The arithmetic, and the parsing of what tools and pages say. Pure.

/// The middle value, or the mean of the middle two; `None` of nothing.
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

/// Least and greatest value.
pub(super) fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
}

/// Connections that `openssl s_time` counted (`7660 connections in 2 real seconds, …`).
pub(super) fn connections(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains(" real seconds"))?;
    line.split_once(" connections in ")?.0.trim().parse().ok()
}

/// The figure that the pipeline's benchmark prints as `name value`.
pub(super) fn figure(said: &str, name: &str) -> Option<f64> {
    said.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| *first == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// One line of a metrics page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    labels: &'a str,
    /// Its value.
    pub(super) value: f64,
}

impl<'a> Sample<'a> {
    /// The value of a label. Those asked for here hold no comma and no quote.
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"'))
    }
}

/// All samples of a name.
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

/// Sum of the samples that carry all these labels; 0 of none.
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
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(range(&[2.0, 1.0, 3.0]), (1.0, 3.0));
    }

    #[test]
    fn s_time_says_how_many() {
        let said = "Now timing with session id reuse.\nstarting\nrrr\n\n\
            7660 connections in 0.42s; 18238.10 connections/user sec, bytes read 1110700\n\
            7660 connections in 2 real seconds, 145 bytes read per connection\n";
        assert_eq!(connections(said), Some(7660));
        assert_eq!(connections("No CIPHER specified\n"), None);
    }

    #[test]
    fn the_benchmark_prints_a_figure() {
        assert_eq!(
            figure("noise\nthroughput 8621698.4\n", "throughput"),
            Some(8_621_698.4)
        );
        assert_eq!(figure("throughputs 1\n", "throughput"), None);
    }

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# HELP runs_total x\n\
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
