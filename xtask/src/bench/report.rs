//! The table, and its place in `SPECIFICATION.md`. Pure.

use anyhow::Result;

use super::{
    CASES,
    hits::{Counted, TRAPS},
    numbers::range,
    pipeline::Pipeline,
    rate::{Rates, middle},
};

/// Opens the generated section.
const BEGIN: &str = "<!-- measured: begin (written by `cargo xtask bench`) -->";
/// Closes it.
const END: &str = "<!-- measured: end -->";

const MIB: f64 = 1024.0 * 1024.0;

/// The old text with the section between the markers replaced; `None` where they are not.
pub(super) fn replace(old: &str, section: &str) -> Option<String> {
    let (head, rest) = old.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    let section = section.trim_end();
    Some(format!("{head}{BEGIN}\n{section}\n{END}{tail}"))
}

/// Everything measured, as Markdown.
pub(super) fn table(
    environment: &str,
    rates: &Rates,
    counted: &Counted,
    pipeline: &Pipeline,
) -> Result<String> {
    let parts = [
        environment.to_owned(),
        handshakes(rates)?,
        traps(counted),
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

fn traps(counted: &Counted) -> String {
    let mut text = format!(
        "| traps per handshake | role | {} | sum |\n|---|---|{}---:|\n",
        TRAPS.map(|name| format!("`{name}`")).join(" | "),
        "---:|".repeat(TRAPS.len()),
    );
    for hits in &counted.hits {
        text += &format!(
            "| {} | {} | {} | {:.2} |\n",
            CASES[hits.case].name,
            hits.role,
            hits.traps.map(|runs| format!("{runs:.2}")).join(" | "),
            hits.traps.iter().sum::<f64>(),
        );
    }
    let foreign: u64 = counted.hits.iter().map(|hits| hits.foreign).sum();
    if foreign > 0 {
        text += &format!(
            "\nOther programs on this host made at least {foreign} handshakes meanwhile, which \
             blurs these figures.\n"
        );
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
    use super::super::{hits::Hits, rate::Rate};
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("kept\n{BEGIN}\nold\ntext\n{END}\nkept too\n");
        let new = replace(&old, "new\n\n").unwrap();
        assert_eq!(new, format!("kept\n{BEGIN}\nnew\n{END}\nkept too\n"));
        assert_eq!(replace(&new, "new").as_deref(), Some(new.as_str()));
        assert_eq!(replace("no markers", "new"), None);
        assert_eq!(replace(&format!("{END}{BEGIN}"), "new"), None);
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
            hits: vec![Hits {
                case: 3,
                role: "server",
                traps: [2.0, 2.0, 1.0, 0.0],
                foreign: 4,
            }],
            programs: [].into(),
            handshakes: 1.0,
        };
        let pipeline = Pipeline {
            events_per_second: 2e6,
            memory: MIB,
            page: 0.001,
        };
        let text = table("when and where", &rates, &counted, &pipeline).unwrap();
        for expected in [
            "when and where\n",
            "| TLS 1.2, full | 1000 | 0.900 (0.800–0.950) | 0.700 (0.700–0.700) |",
            "observed meanwhile: 10; counted by the agent: 9, of which 8 for their peer; events lost: 1.",
            "| TLS 1.3, resumed | server | 2.00 | 2.00 | 1.00 | 0.00 | 5.00 |",
            "at least 4 handshakes",
            "| 50 ms (50 ms) |",
            "| 2.0 million |",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
