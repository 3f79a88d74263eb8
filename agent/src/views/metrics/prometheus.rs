//! Conversion of OpenMetrics text to Prometheus text 0.0.4. The samples are the same; the metadata
//! of a counter has the name of its samples, and there are no units and no end mark. Sources:
//! OpenMetrics 1.0 "Overall structure", Prometheus "Exposition formats".

use std::fmt::{self, Write};

/// Converts a page while `prometheus-client` writes it, line by line.
pub(super) struct Converter<'o, W> {
    out: &'o mut W,
    /// The incomplete last line.
    line: String,
    /// Name and text of a HELP line. HELP precedes TYPE, and only TYPE shows whether samples have a
    /// suffix.
    help: Option<(String, String)>,
}

impl<'o, W: Write> Converter<'o, W> {
    pub(super) const fn new(out: &'o mut W) -> Self {
        Self {
            out,
            line: String::new(),
            help: None,
        }
    }

    fn convert(&mut self) -> fmt::Result {
        let line = self.line.trim_end_matches('\n');
        if line == "# EOF" || line.starts_with("# UNIT ") {
            return Ok(());
        }
        if let Some((name, help)) = metadata(line, "# HELP ") {
            self.help = Some((name.to_owned(), help.to_owned()));
            return Ok(());
        }
        let family = metadata(line, "# TYPE ");
        if let Some((name, help)) = self.help.take() {
            let suffix = family.map_or("", |(_, kind)| suffix(kind));
            writeln!(self.out, "# HELP {name}{suffix} {help}")?;
        }
        match family {
            Some((name, kind)) => {
                let kind_shown = match kind {
                    "info" => "gauge",
                    "unknown" => "untyped",
                    kind => kind,
                };
                writeln!(self.out, "# TYPE {name}{} {kind_shown}", suffix(kind))
            }
            None => self.out.write_str(&self.line),
        }
    }
}

impl<W: Write> Write for Converter<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.convert()?;
                self.line.clear();
            }
        }
        Ok(())
    }
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
        let mut at_once = String::new();
        Converter::new(&mut at_once).write_str(page).unwrap();
        assert_eq!(at_once, want);
        let mut in_parts = String::new();
        let mut converter = Converter::new(&mut in_parts);
        for part in page.split_inclusive([' ', '{']) {
            converter.write_str(part).unwrap();
        }
        assert_eq!(in_parts, want);
    }
}
