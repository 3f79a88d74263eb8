//! Conversion of OpenMetrics text to Prometheus text 0.0.4. The samples are the same; the metadata
//! of a counter has the name of its samples, and there are no units and no end mark. Sources:
//! OpenMetrics
//! 1.0 "Overall structure", Prometheus "Exposition formats".

use std::fmt::Write as _;

/// Converts a page written by `prometheus-client`.
pub(super) fn from_open_metrics(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((name, help)) = metadata(line, "# HELP ") {
            // HELP precedes TYPE, and only TYPE shows whether samples have a suffix.
            let suffix = lines
                .peek()
                .and_then(|next| metadata(next, "# TYPE "))
                .map_or("", |(_, kind)| suffix(kind));
            let _ = writeln!(out, "# HELP {name}{suffix} {help}");
        } else if let Some((name, kind)) = metadata(line, "# TYPE ") {
            let kind_shown = match kind {
                "info" => "gauge",
                "unknown" => "untyped",
                kind => kind,
            };
            let _ = writeln!(out, "# TYPE {name}{} {kind_shown}", suffix(kind));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn metadata<'a>(line: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(mark)?.split_once(' ')
}

fn suffix(kind: &str) -> &'static str {
    match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_counters_and_infos_has_the_name_of_their_samples() {
        let page = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{x=\"1\"} 2\n# HELP b B.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                    # HELP g G.\n# TYPE g gauge\ng 3\n# EOF\n";
        let want = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\n\
                    a_seconds_total{x=\"1\"} 2\n# HELP b_info B.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                    # HELP g G.\n# TYPE g gauge\ng 3\n";
        assert_eq!(from_open_metrics(page), want);
    }
}
