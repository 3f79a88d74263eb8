//! Generated sections of `SPECIFICATION.md`.

use anyhow::Result;

use super::{
    carriers::{CarrierTraps, PROGRAMS},
    context::CASES,
    numbers::range,
    pipeline::Pipeline,
    programs::ProgramTotals,
    rate::{Rates, median_of_rounds},
    scan::Scan,
    stream::{Ratio, Streams},
};

/// Generated section.
#[derive(Clone, Copy)]
pub(super) enum Section {
    /// Times and rates, which depend on the load of the machine.
    Measured,
    /// Counts, which do not depend on the load of the machine.
    Counted,
}

impl Section {
    /// Lines before and after the section.
    const fn markers(self) -> (&'static str, &'static str) {
        match self {
            Self::Measured => (
                "<!-- measured: begin (written by `cargo xtask bench`) -->",
                "<!-- measured: end -->",
            ),
            Self::Counted => (
                "<!-- counted: begin (written by `cargo xtask bench`, and `cargo xtask bench --counts`) -->",
                "<!-- counted: end -->",
            ),
        }
    }

    /// Returns `old` with the text between the markers replaced; `None` without markers.
    pub(super) fn replace(self, old: &str, section: &str) -> Option<String> {
        let (begin, end) = self.markers();
        let (head, rest) = old.split_once(begin)?;
        let (_, tail) = rest.split_once(end)?;
        let section = section.trim_end();
        Some(format!("{head}{begin}\n{section}\n{end}{tail}"))
    }
}

/// Maximum width of prose, columns.
const COLUMNS: usize = 100;

const MIB: f64 = 1024.0 * 1024.0;

/// Returns [`Section::Counted`] as Markdown.
pub(super) fn counted(environment: &str, carriers: &[CarrierTraps], scan: Scan) -> String {
    let scan = format!(
        "First scan of all processes: {:.0} ms for {:.0} processes, most of them with OpenSSL.",
        scan.milliseconds, scan.processes
    );
    [wrap(environment), traps(carriers), wrap(&scan)].join("\n\n")
}

/// Returns [`Section::Measured`] as Markdown.
pub(super) fn measured(
    environment: &str,
    rates: &Rates,
    streams: &Streams,
    totals: &ProgramTotals,
    pipeline: &Pipeline,
) -> Result<String> {
    let parts = [
        wrap(environment),
        handshakes(rates)?,
        transfers(streams),
        programs(totals),
        agent(rates, pipeline)?,
    ];
    Ok(parts.join("\n\n"))
}

/// Table of handshake rates.
fn handshakes(rates: &Rates) -> Result<String> {
    let mut text = "| handshakes | per second, no agent | rate with ÷ without, server \
        observed | rate with ÷ without, both ends observed | server CPU time with ÷ without |\n\
        |---|---:|---:|---:|---:|\n"
        .to_owned();
    for (case, comparison) in CASES.iter().zip(&rates.cases) {
        let spread = |values: &[f64]| -> Result<String> {
            let (low, high) = range(values);
            Ok(format!(
                "{:.3} ({low:.3}–{high:.3})",
                median_of_rounds(values)?
            ))
        };
        text += &format!(
            "| {} | {:.0} | {} | {} | {} |\n",
            case.name,
            median_of_rounds(&comparison.baseline)?,
            spread(&comparison.server)?,
            spread(&comparison.both)?,
            spread(&comparison.server_cpu)?,
        );
    }
    text.push('\n');
    text += &wrap(&format!(
        "Handshakes in these runs, both ends: {}; counted by the agent: {}, of which {} for their \
         peer; events lost: {}.",
        rates.expected, rates.counted, rates.counted_by_peer, rates.lost
    ));
    Ok(text)
}

/// Sentence with the rates of a long transfer.
fn transfers(streams: &Streams) -> String {
    let ratio = |Ratio { median, low, high }| format!("{median:.3} ({low:.3}–{high:.3})");
    wrap(&format!(
        "Long transfer over loopback: {:.2} GiB/s without programs; rate with ÷ without the two \
         programs of `wire` {}, with ÷ without these and the two at receives and sends {}; medians \
         and 95 % confidence intervals.",
        streams.baseline / (1024.0 * MIB),
        ratio(streams.wire),
        ratio(streams.all),
    ))
}

/// Returns a table with a row per carrier and role and a column per kind of handshake. Each cell is
/// a sum with one term per program.
fn traps(carriers: &[CarrierTraps]) -> String {
    let kinds = [
        ("1.2", "full"),
        ("1.2", "resumed"),
        ("1.3", "full"),
        ("1.3", "resumed"),
    ];
    let heads = kinds.map(|(version, kind)| format!("TLS {version}, {kind}"));
    let mut text = format!(
        "| traps per handshake: {} | role | {} |\n|---|---|{}\n",
        PROGRAMS.map(|name| format!("`{name}`")).join(" + "),
        heads.join(" | "),
        "---:|".repeat(kinds.len()),
    );
    let mut rows: Vec<(&str, &str)> = carriers
        .iter()
        .map(|traps| (traps.carrier.as_str(), traps.role.as_str()))
        .collect();
    rows.dedup();
    for (carrier, role) in rows {
        let cells = kinds.map(|(version, kind)| {
            let found = carriers.iter().find(|traps| {
                (traps.carrier.as_str(), traps.role.as_str()) == (carrier, role)
                    && (traps.version.as_str(), traps.kind.as_str()) == (version, kind)
            });
            found.map_or_else(
                || "none".to_owned(),
                |found| found.traps.map(|runs| format!("{runs:.2}")).join(" + "),
            )
        });
        text += &format!("| {carrier} | {role} | {} |\n", cells.join(" | "));
    }
    text.trim_end().to_owned()
}

/// Table of BPF programs.
fn programs(totals: &ProgramTotals) -> String {
    let mut text = "| BPF program | runs per observed handshake | mean run time, ns |\n\
        |---|---:|---:|\n"
        .to_owned();
    for (name, program) in &totals.programs {
        text += &format!(
            "| `{name}` | {:.2} | {:.0} |\n",
            program.runs / totals.handshakes,
            program.seconds / program.runs * 1e9,
        );
    }
    text.trim_end().to_owned()
}

/// Table of the agent's own values.
fn agent(rates: &Rates, pipeline: &Pipeline) -> Result<String> {
    let (_, slowest) = range(&rates.shutdowns);
    Ok(format!(
        "| agent | |\n|---|---:|\n\
         | events per second, one core | {:.1} million |\n\
         | resident memory of the pipeline, 50,000 peers | {:.1} MiB |\n\
         | rendering a metrics page of 10,000 series | {:.2} ms |\n\
         | resident memory of `reprise run`, idle | {:.1} MiB |\n\
         | SIGTERM to exit, median of {} (slowest) | {:.0} ms ({:.0} ms) |",
        pipeline.events_per_second / 1e6,
        pipeline.memory / MIB,
        pipeline.page_seconds * 1e3,
        median_of_rounds(&rates.resident)? / MIB,
        rates.shutdowns.len(),
        median_of_rounds(&rates.shutdowns)? * 1e3,
        slowest * 1e3,
    ))
}

/// Breaks a paragraph into lines of at most [`COLUMNS`] columns.
fn wrap(paragraph: &str) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > COLUMNS {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rate::Comparison;

    #[test]
    fn only_the_text_between_the_markers_changes() {
        let (begin, end) = Section::Counted.markers();
        let (other, close) = Section::Measured.markers();
        let rest = format!("{other}\nunchanged too\n{close}\n");
        let old = format!("unchanged\n{begin}\nold\ntext\n{end}\n{rest}");
        let new = Section::Counted.replace(&old, "new\n\n").unwrap();
        assert_eq!(new, format!("unchanged\n{begin}\nnew\n{end}\n{rest}"));
        assert_eq!(
            Section::Counted.replace(&new, "new").as_deref(),
            Some(new.as_str())
        );
        assert_eq!(Section::Counted.replace("no markers", "new"), None);
        assert_eq!(
            Section::Counted.replace(&format!("{end}{begin}"), "new"),
            None
        );
    }

    #[test]
    fn each_carrier_has_a_row_and_each_kind_a_column() {
        let traps = |carrier: &str, kind: &str| CarrierTraps {
            carrier: carrier.to_owned(),
            role: "server".to_owned(),
            version: "1.3".to_owned(),
            kind: kind.to_owned(),
            traps: [2.0, 1.5, 1.0, 0.0, 0.0, 0.0],
        };
        let carriers = [
            traps("one", "full"),
            traps("one", "resumed"),
            traps("two", "full"),
        ];
        let scan = Scan {
            processes: 1100.0,
            milliseconds: 50.4,
        };
        let text = counted("environment", &carriers, scan);
        let cell = "2.00 + 1.50 + 1.00 + 0.00 + 0.00 + 0.00";
        for expected in [
            "environment\n".to_owned(),
            format!("| one | server | none | none | {cell} | {cell} |"),
            format!("| two | server | none | none | {cell} | none |"),
            "50 ms for 1100 processes".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn prose_is_wrapped() {
        let word = "x".repeat(COLUMNS / 2);
        assert_eq!(
            wrap(&format!("a\n b {word} {word}")),
            format!("a b {word}\n{word}")
        );
        assert_eq!(wrap(""), "");
    }

    #[test]
    fn the_tables_contain_the_measurements() {
        let comparison = || Comparison {
            baseline: vec![1000.0],
            server: vec![0.9, 0.8, 0.95],
            both: vec![0.7],
            server_cpu: vec![1.25],
        };
        let rates = Rates {
            cases: CASES.iter().map(|_| comparison()).collect(),
            expected: 10,
            counted: 9,
            counted_by_peer: 8,
            lost: 1,
            resident: vec![2.0 * MIB],
            shutdowns: vec![0.050],
        };
        let totals = ProgramTotals {
            programs: [].into(),
            handshakes: 1.0,
        };
        let pipeline = Pipeline {
            events_per_second: 2e6,
            memory: MIB,
            page_seconds: 0.001,
        };
        let ratio = |median| Ratio {
            median,
            low: median - 0.01,
            high: median + 0.01,
        };
        let streams = Streams {
            baseline: 2.0 * 1024.0 * MIB,
            wire: ratio(0.99),
            all: ratio(0.97),
        };
        let text = measured("environment", &rates, &streams, &totals, &pipeline).unwrap();
        assert!(text.starts_with("environment\n"), "{text}");
        let text = text.replace('\n', " ");
        for expected in [
            "| TLS 1.2, full | 1000 | 0.900 (0.800–0.950) | 0.700 (0.700–0.700) |",
            "both ends: 10; counted by the agent: 9, of which 8 for their peer; events lost: 1.",
            "2.00 GiB/s without programs; rate with ÷ without the two programs of `wire` 0.990 \
             (0.980–1.000), with ÷",
            "receives and sends 0.970 (0.960–0.980)",
            "| 50 ms (50 ms) |",
            "| 2.0 million |",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
