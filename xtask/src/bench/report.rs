//! The tables, and their places in `SPECIFICATION.md`. Pure.

use anyhow::Result;

use super::{
    CASES,
    carriers::{Line, TRAPS},
    numbers::range,
    pipeline::Pipeline,
    programs::Counted,
    rate::{Rates, middle},
    scan::Scan,
    stream::{Ratio, Streams},
};

/// A generated part of the file.
#[derive(Clone, Copy)]
pub(super) enum Section {
    /// Figures that a busy machine blurs.
    Measured,
    /// Those that it does not.
    Counted,
}

impl Section {
    /// What opens and what closes it.
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

    /// The old text with the section between its markers replaced; `None` where they are not.
    pub(super) fn replace(self, old: &str, section: &str) -> Option<String> {
        let (begin, end) = self.markers();
        let (head, rest) = old.split_once(begin)?;
        let (_, tail) = rest.split_once(end)?;
        let section = section.trim_end();
        Some(format!("{head}{begin}\n{section}\n{end}{tail}"))
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// What was counted, as Markdown.
pub(super) fn counted(environment: &str, carriers: &[Line], scan: Scan) -> String {
    let scan = format!(
        "First look at all processes: {:.0} ms for {:.0} of them, most with OpenSSL mapped.",
        scan.milliseconds, scan.processes
    );
    [environment, &traps(carriers), &scan].join("\n\n")
}

/// What was measured, as Markdown.
pub(super) fn measured(
    environment: &str,
    rates: &Rates,
    streams: &Streams,
    counted: &Counted,
    pipeline: &Pipeline,
) -> Result<String> {
    let parts = [
        environment.to_owned(),
        handshakes(rates)?,
        transfers(streams),
        programs(counted),
        agent(rates, pipeline)?,
    ];
    Ok(parts.join("\n\n"))
}

fn handshakes(rates: &Rates) -> Result<String> {
    let mut text = "| handshakes | per second, no agent | server observed: with ÷ without | \
        both ends observed: with ÷ without | server's CPU time per handshake: with ÷ without |\n\
        |---|---:|---:|---:|---:|\n"
        .to_owned();
    for (case, rate) in CASES.iter().zip(&rates.cases) {
        let spread = |values: &[f64]| -> Result<String> {
            let (low, high) = range(values);
            Ok(format!("{:.3} ({low:.3}–{high:.3})", middle(values)?))
        };
        text += &format!(
            "| {} | {:.0} | {} | {} | {} |\n",
            case.name,
            middle(&rate.alone)?,
            spread(&rate.server)?,
            spread(&rate.both)?,
            spread(&rate.cpu)?,
        );
    }
    text += &format!(
        "\nHandshakes to be observed meanwhile: {}; counted by the agent: {}, of which {} for their \
         peer; events lost: {}.",
        rates.made, rates.seen, rates.named, rates.lost
    );
    Ok(text)
}

fn transfers(streams: &Streams) -> String {
    let ratio = |Ratio { middle, low, high }| format!("{middle:.3} ({low:.3}–{high:.3})");
    format!(
        "A long transfer over loopback: {:.2} GiB/s without any program; with ÷ without the two of `wire` {}, \
         with ÷ without these and the two at receives and sends {}; medians and their 95 % confidence intervals.",
        streams.alone / (1024.0 * MIB),
        ratio(streams.wire),
        ratio(streams.all),
    )
}

/// Returns a table with a row per carrier and role and a column per kind of handshake. Each cell is
/// a sum with one term per program.
fn traps(lines: &[Line]) -> String {
    let kinds = [
        ("1.2", "full"),
        ("1.2", "resumed"),
        ("1.3", "full"),
        ("1.3", "resumed"),
    ];
    let heads = kinds.map(|(version, kind)| format!("TLS {version}, {kind}"));
    let mut text = format!(
        "| traps per handshake: {} | role | {} |\n|---|---|{}\n",
        TRAPS.map(|name| format!("`{name}`")).join(" + "),
        heads.join(" | "),
        "---:|".repeat(kinds.len()),
    );
    let mut rows: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line.carrier.as_str(), line.role.as_str()))
        .collect();
    rows.dedup();
    for (carrier, role) in rows {
        let cells = kinds.map(|(version, kind)| {
            let line = lines.iter().find(|line| {
                (line.carrier.as_str(), line.role.as_str()) == (carrier, role)
                    && (line.version.as_str(), line.kind.as_str()) == (version, kind)
            });
            line.map_or_else(
                || "not made".to_owned(),
                |line| line.traps.map(|runs| format!("{runs:.2}")).join(" + "),
            )
        });
        text += &format!("| {carrier} | {role} | {} |\n", cells.join(" | "));
    }
    text.trim_end().to_owned()
}

fn programs(counted: &Counted) -> String {
    let mut text = "| BPF program | runs per observed handshake | mean run time, ns |\n\
        |---|---:|---:|\n"
        .to_owned();
    for (name, program) in &counted.programs {
        text += &format!(
            "| `{name}` | {:.2} | {:.0} |\n",
            program.runs / counted.handshakes,
            program.seconds / program.runs * 1e9,
        );
    }
    text.trim_end().to_owned()
}

fn agent(rates: &Rates, pipeline: &Pipeline) -> Result<String> {
    let (_, slowest) = range(&rates.ends);
    Ok(format!(
        "| the agent | |\n|---|---:|\n\
         | events correlated per second, one core | {:.1} million |\n\
         | resident memory of the pipeline, 50,000 peers | {:.1} MiB |\n\
         | a metrics page of 10,000 series | {:.2} ms |\n\
         | resident memory of `reprise run` at rest | {:.1} MiB |\n\
         | SIGTERM to exit, median of {} (slowest) | {:.0} ms ({:.0} ms) |",
        pipeline.events_per_second / 1e6,
        pipeline.memory / MIB,
        pipeline.page * 1e3,
        middle(&rates.resident)? / MIB,
        rates.ends.len(),
        middle(&rates.ends)? * 1e3,
        slowest * 1e3,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::rate::Rate;
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let (begin, end) = Section::Counted.markers();
        let (other, close) = Section::Measured.markers();
        let rest = format!("{other}\nkept too\n{close}\n");
        let old = format!("kept\n{begin}\nold\ntext\n{end}\n{rest}");
        let new = Section::Counted.replace(&old, "new\n\n").unwrap();
        assert_eq!(new, format!("kept\n{begin}\nnew\n{end}\n{rest}"));
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
        let line = |carrier: &str, kind: &str| Line {
            carrier: carrier.to_owned(),
            role: "server".to_owned(),
            version: "1.3".to_owned(),
            kind: kind.to_owned(),
            traps: [2.0, 1.5, 1.0, 0.0, 0.0, 0.0],
        };
        let lines = [
            line("one", "full"),
            line("one", "resumed"),
            line("two", "full"),
        ];
        let scan = Scan {
            processes: 1100.0,
            milliseconds: 50.4,
        };
        let text = counted("when and where", &lines, scan);
        let cell = "2.00 + 1.50 + 1.00 + 0.00 + 0.00 + 0.00";
        for expected in [
            "when and where\n".to_owned(),
            format!("| one | server | not made | not made | {cell} | {cell} |"),
            format!("| two | server | not made | not made | {cell} | not made |"),
            "50 ms for 1100 of them".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn the_table_says_what_was_measured() {
        let rate = || Rate {
            alone: vec![1000.0],
            server: vec![0.9, 0.8, 0.95],
            both: vec![0.7],
            cpu: vec![1.25],
        };
        let rates = Rates {
            cases: CASES.iter().map(|_| rate()).collect(),
            made: 10,
            seen: 9,
            named: 8,
            lost: 1,
            resident: vec![2.0 * MIB],
            ends: vec![0.050],
        };
        let counted = Counted {
            programs: [].into(),
            handshakes: 1.0,
        };
        let pipeline = Pipeline {
            events_per_second: 2e6,
            memory: MIB,
            page: 0.001,
        };
        let ratio = |middle| Ratio {
            middle,
            low: middle - 0.01,
            high: middle + 0.01,
        };
        let streams = Streams {
            alone: 2.0 * 1024.0 * MIB,
            wire: ratio(0.99),
            all: ratio(0.97),
        };
        let text = measured("when and where", &rates, &streams, &counted, &pipeline).unwrap();
        for expected in [
            "when and where\n",
            "| TLS 1.2, full | 1000 | 0.900 (0.800–0.950) | 0.700 (0.700–0.700) |",
            "observed meanwhile: 10; counted by the agent: 9, of which 8 for their peer; events lost: 1.",
            "2.00 GiB/s without any program; with ÷ without the two of `wire` 0.990 (0.980–1.000), with ÷",
            "receives and sends 0.970 (0.960–0.980)",
            "| 50 ms (50 ms) |",
            "| 2.0 million |",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
