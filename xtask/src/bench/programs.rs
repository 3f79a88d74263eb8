//! Runs and run time of the BPF programs, from the kernel's statistics.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    accounting::BpfStatistics,
    client,
    context::{Bench, CASES, check_interrupt},
    numbers::{samples, sum},
    observer::Observer,
    server::Nginx,
};

/// Maximum duration of one case.
const MAX_SECONDS: u64 = 2;

/// Time after which the metrics page is up to date.
const REFRESH: Duration = Duration::from_millis(2200);

/// Totals of one program.
#[derive(Clone, Copy, Default)]
pub(super) struct Program {
    /// Number of runs.
    pub(super) runs: f64,
    /// Run time.
    pub(super) seconds: f64,
}

/// Totals of all cases.
pub(super) struct ProgramTotals {
    /// Programs with at least one run, by name.
    pub(super) programs: BTreeMap<String, Program>,
    /// Handshakes of observed libraries.
    pub(super) handshakes: f64,
}

/// Measures every case with the server observed, then with the client observed.
pub(super) fn measure(bench: &Bench<'_>, observed: &mut Nginx) -> Result<ProgramTotals> {
    let _statistics = BpfStatistics::enable()?;
    let mut unobserved = Nginx::start(bench, "unobserved", Some(bench.unobserved))?;
    let observer = Observer::start(bench)?;
    thread::sleep(REFRESH);
    let start = observer.page()?;
    let mut total = 0.0;
    for case in &CASES {
        for (role, server, library) in [
            ("server", &mut *observed, Some(bench.unobserved)),
            ("client", &mut unobserved, None),
        ] {
            let before = observer.page()?;
            client::run(bench, case, server, library, bench.seconds.min(MAX_SECONDS))?;
            check_interrupt()?;
            thread::sleep(REFRESH);
            let counted = handshakes(&before, &observer.page()?, role);
            ensure!(counted > 0.0, "the agent counted no handshake of a {role}");
            total += counted;
        }
    }
    let end = observer.page()?;
    observer.stop()?;
    Ok(ProgramTotals {
        programs: programs(&start, &end),
        handshakes: total,
    })
}

/// Returns the number of handshakes between two metrics pages.
fn handshakes(before: &str, after: &str, role: &str) -> f64 {
    let count = |page| sum(page, "reprise_handshakes_total", &[("role", role)]);
    count(after) - count(before)
}

/// Returns the programs with at least one run between two metrics pages.
fn programs(start: &str, end: &str) -> BTreeMap<String, Program> {
    let difference = |family: &str, name: &str| {
        let labels = [("program", name)];
        sum(end, family, &labels) - sum(start, family, &labels)
    };
    samples(end, "reprise_bpf_runs_total")
        .filter_map(|sample| sample.label("program"))
        .map(|name| {
            let program = Program {
                runs: difference("reprise_bpf_runs_total", name),
                seconds: difference("reprise_bpf_run_seconds_total", name),
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
    fn programs_without_runs_are_omitted() {
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
