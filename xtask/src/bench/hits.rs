//! Probe hits per handshake, by the kernel's own accounting of BPF programs.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    Bench, CASES, client, go_on,
    numbers::{samples, sum},
    observer::Observer,
    server::Nginx,
};

/// Switches the accounting (`Documentation/admin-guide/sysctl/kernel.rst`).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The programs on uprobes: each run is one trap of the observed process.
pub(super) const TRAPS: [&str; 4] = ["hs_enter", "hs_exit", "hs_free", "hs_error"];

/// Measurements here count; they do not time, and need not last.
const SECONDS: u64 = 2;

/// Longer than a page is old.
const REFRESH: Duration = Duration::from_millis(2200);

/// Hits of one role in one case.
pub(super) struct Hits {
    /// Index of the case.
    pub(super) case: usize,
    /// Which end of the connection was observed.
    pub(super) role: &'static str,
    /// Runs per handshake, in the order of [`TRAPS`].
    pub(super) traps: [f64; 4],
    /// Handshakes of the other role, which nobody here made: other TLS on this host.
    pub(super) foreign: u64,
}

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
    /// One line per case and role.
    pub(super) hits: Vec<Hits>,
    /// Every program that ran, by name.
    pub(super) programs: BTreeMap<String, Program>,
    /// Handshakes of both roles over all cases.
    pub(super) handshakes: f64,
}

/// Counts for every case with one end observed, then with the other.
pub(super) fn measure(bench: &Bench<'_>, observed: &mut Nginx) -> Result<Counted> {
    let _accounting = Accounting::switch_on()?;
    let mut unobserved = Nginx::start(bench, "unobserved", Some(bench.unobserved))?;
    let observer = Observer::start(bench)?;
    thread::sleep(REFRESH);
    let start = observer.page()?;
    let mut hits = Vec::new();
    for (case, kind) in CASES.iter().enumerate() {
        for (role, other, server, library) in [
            ("server", "client", &mut *observed, Some(bench.unobserved)),
            ("client", "server", &mut unobserved, None),
        ] {
            let before = observer.page()?;
            client::run(bench, kind, server, library, bench.seconds.min(SECONDS))?;
            go_on()?;
            thread::sleep(REFRESH);
            let after = observer.page()?;
            let handshakes = handshakes(&before, &after, role);
            ensure!(handshakes > 0.0, "the agent saw no handshake of a {role}");
            let foreign = self::handshakes(&before, &after, other) as u64;
            let traps = TRAPS.map(|program| {
                let labels = [("program", program)];
                let runs = |page: &str| sum(page, "reprise_bpf_runs_total", &labels);
                (runs(&after) - runs(&before)) / handshakes
            });
            hits.push(Hits {
                case,
                role,
                traps,
                foreign,
            });
        }
    }
    let end = observer.page()?;
    observer.end()?;
    let both = ["server", "client"].map(|role| handshakes(&start, &end, role));
    Ok(Counted {
        hits,
        programs: programs(&start, &end),
        handshakes: both.iter().sum(),
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

/// The accounting, switched on; as it was before when this is dropped.
struct Accounting {
    before: String,
}

impl Accounting {
    fn switch_on() -> Result<Self> {
        let before =
            fs::read_to_string(SWITCH).with_context(|| format!("failed to read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("failed to write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, self.before.trim()) {
            let before = self.before.trim();
            eprintln!("warning: failed to write {before} to {SWITCH}: {error}; do it by hand");
        }
    }
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
