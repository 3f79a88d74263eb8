//! Runs and time of the BPF programs, by the kernel's own accounting.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Bench, CASES,
    accounting::Accounting,
    client, go_on,
    numbers::{samples, sum},
    observer::Observer,
    server::Nginx,
};

/// Each case need not last.
const SECONDS: u64 = 2;

/// Longer than a page is old.
const REFRESH: Duration = Duration::from_millis(2200);

/// Runs and time of one program, over all cases.
#[derive(Clone, Copy, Default)]
pub(super) struct Program {
    /// Runs.
    pub(super) runs: f64,
    /// Seconds inside it.
    pub(super) seconds: f64,
}

/// What was counted.
pub(super) struct Counted {
    /// Every program that ran, by name.
    pub(super) programs: BTreeMap<String, Program>,
    /// Handshakes of the ends whose library was observed.
    pub(super) handshakes: f64,
}

/// Counts for every case with one end observed, then with the other.
pub(super) fn measure(bench: &Bench<'_>, observed: &mut Nginx) -> Result<Counted> {
    let _accounting = Accounting::switch_on()?;
    let mut unobserved = Nginx::start(bench, "unobserved", Some(bench.unobserved))?;
    let observer = Observer::start(bench)?;
    thread::sleep(REFRESH);
    let start = observer.page()?;
    let mut all = 0.0;
    for kind in &CASES {
        for (role, server, library) in [
            ("server", &mut *observed, Some(bench.unobserved)),
            ("client", &mut unobserved, None),
        ] {
            let before = observer.page()?;
            client::run(bench, kind, server, library, bench.seconds.min(SECONDS))?;
            go_on()?;
            thread::sleep(REFRESH);
            let made = handshakes(&before, &observer.page()?, role);
            ensure!(made > 0.0, "the agent saw no handshake of a {role}");
            all += made;
        }
    }
    let end = observer.page()?;
    observer.end()?;
    Ok(Counted {
        programs: programs(&start, &end),
        handshakes: all,
    })
}

fn handshakes(before: &str, after: &str, role: &str) -> f64 {
    let count = |page| sum(page, "reprise_handshakes_total", &[("role", role)]);
    count(after) - count(before)
}

fn programs(start: &str, end: &str) -> BTreeMap<String, Program> {
    let since = |family: &str, name: &str| {
        let labels = [("program", name)];
        sum(end, family, &labels) - sum(start, family, &labels)
    };
    samples(end, "reprise_bpf_runs_total")
        .filter_map(|sample| sample.label("program"))
        .map(|name| {
            let program = Program {
                runs: since("reprise_bpf_runs_total", name),
                seconds: since("reprise_bpf_run_seconds_total", name),
            };
            (name.to_owned(), program)
        })
        .filter(|(_, program)| program.runs > 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_by_what_they_did_meanwhile() {
        let page = |runs: &str, seconds: &str| {
            format!(
                "reprise_bpf_runs_total{{program=\"a\"}} {runs}\n\
                 reprise_bpf_runs_total{{program=\"idle\"}} 7\n\
                 reprise_bpf_run_seconds_total{{program=\"a\"}} {seconds}\n"
            )
        };
        let found = programs(&page("1", "0.5"), &page("5", "2.5"));
        assert_eq!(found.len(), 1);
        assert_eq!((found["a"].runs, found["a"].seconds), (4.0, 2.0));
    }
}
