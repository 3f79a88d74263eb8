//! An agent and its counts while a carrier makes handshakes.

use std::fs;
use std::thread;
use std::time::Duration;

use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::programs::Counts;
use reprise_tests::servers::Sessions;
use reprise_tests::{Agent, Metrics, libssl};

use super::Kind;

/// BPF programs on uprobes: each run is one trap of the observed process.
const TRAPS: [&str; 6] = [
    "hs_enter",
    "hs_exit",
    "hs_free",
    "hs_error",
    "hs_rejected",
    "hs_forget",
];

/// Longer than the maximum age of a page.
const REFRESH: Duration = Duration::from_millis(2200);

/// Traps of one run by program.
type Traps = [f64; TRAPS.len()];

/// Counter of traps, with an agent and copies of OpenSSL that it ignores.
pub(crate) struct Counter {
    agent: Agent,
    /// Copies of libssl and libcrypto that the agent ignores.
    copy: libssl::Copy,
}

impl Counter {
    pub(crate) fn start() -> Self {
        let copy = libssl::Copy::new();
        let system = libssl::system();
        let beside = system.parent().expect("a library is in a directory");
        for entry in fs::read_dir(beside).expect("failed to list the libraries") {
            let path = entry.expect("failed to list the libraries").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("libcrypto.so.") {
                let to = copy.directory().join(path.file_name().unwrap_or_default());
                fs::copy(&path, to).expect("failed to copy libcrypto");
            }
        }
        let agent = Agent::start(["--ignore".as_ref(), copy.directory().as_os_str()]);
        Self { agent, copy }
    }

    /// Returns a command prefix that starts a program with the libraries that are not observed.
    pub(crate) fn unobserved(&self) -> [String; 2] {
        let directory = self.copy.directory().display();
        ["env".to_owned(), format!("LD_LIBRARY_PATH={directory}")]
    }

    /// Prints a line for each kind of handshake that `run` makes.
    pub(crate) fn count(
        &self,
        carrier: &str,
        role: &str,
        sessions: Sessions,
        mut run: impl FnMut(Kind) -> Counts,
    ) {
        // The other TLS version uses the same file, which is already attached.
        if sessions != Sessions::Tickets {
            self.warm_up(carrier, || {
                run(Kind::Full);
            });
        }
        let (made, full) = self.traps(role, || run(Kind::Full));
        assert_eq!(made.resumed, 0, "{carrier}: {made:?}");
        let full = full.map(|runs| runs / f64::from(made.full));
        let (made, both) = self.traps(role, || run(Kind::Resumed));
        assert!(made.resumed > 0, "{carrier} resumed none: {made:?}");
        // The traps of the full handshakes among them are known.
        let resumed: Traps = std::array::from_fn(|at| {
            (both[at] - full[at] * f64::from(made.full)) / f64::from(made.resumed)
        });
        for (kind, traps) in [("full", full), ("resumed", resumed)] {
            let figures = traps.map(|runs| format!("{runs:.2}")).join("\t");
            let version = sessions.version();
            println!("traps\t{carrier}\t{role}\t{version}\t{kind}\t{figures}");
        }
    }

    /// Makes handshakes until one causes a trap: attaching to a new file takes a moment.
    fn warm_up(&self, carrier: &str, mut run: impl FnMut()) {
        let entered = || runs(&self.agent.metrics())[0];
        let before = entered();
        poll_until(&format!("{carrier} is observed"), DEADLINE, || {
            run();
            thread::sleep(REFRESH);
            if entered() > before {
                Ok(())
            } else {
                Err(self.agent.stderr())
            }
        });
    }

    /// Returns the handshakes that `run` made and the traps meanwhile. Earlier traps are already on
    /// the page. The agent must have counted the same handshakes.
    fn traps(&self, role: &str, run: impl FnOnce() -> Counts) -> (Counts, Traps) {
        let before = self.agent.metrics();
        let made = run();
        poll_until("the handshakes are counted", DEADLINE, || {
            let after = self.agent.metrics();
            let wrong: Vec<_> = [("full", made.full), ("resumed", made.resumed)]
                .into_iter()
                .filter_map(|(kind, made)| {
                    let labels = [("role", role), ("resumption", kind)];
                    let count = |page: &Metrics| page.sum("reprise_handshakes_total", &labels);
                    let counted = count(&after) - count(&before);
                    (counted != f64::from(made))
                        .then(|| format!("{made} {kind}: {counted} counted"))
                })
                .collect();
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(wrong.join(", "))
            }
        });
        thread::sleep(REFRESH);
        let (after, before) = (runs(&self.agent.metrics()), runs(&before));
        (made, std::array::from_fn(|at| after[at] - before[at]))
    }
}

fn runs(page: &Metrics) -> Traps {
    TRAPS.map(|program| page.sum("reprise_bpf_runs_total", &[("program", program)]))
}
