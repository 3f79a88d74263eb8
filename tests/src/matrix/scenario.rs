//! Scenario of each fault: its servers and the connections of its clients.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use super::cell::{Cell, Fault};
use super::setup::{SHORT_LIFETIME, Setup};
use super::target::{Target, wait_closed};
use crate::faketime;
use crate::fleet::Fleet;
use crate::process::Process;

/// How long the agent needs to find the process behind a service that only its packets show.
const OWNER_FOUND: Duration = Duration::from_secs(2);

/// Handshakes and missed sessions of one cell, as the clients counted them.
#[derive(Debug, Clone, Default)]
pub struct ClientCounts {
    /// Completed handshakes.
    pub connected: u32,
    /// Missed sessions.
    pub missed: u32,
    /// Ports of the servers.
    pub ports: BTreeSet<u16>,
}

/// One cell while it runs.
struct Scenario<'a> {
    target: &'a dyn Target,
    setup: Setup,
    processes: Vec<Process>,
    clients: Fleet,
    /// Options of the clients.
    words: String,
    counts: ClientCounts,
}

/// Runs the scenario of a cell, with clients in the network `network`.
///
/// # Panics
/// If the server or its clients cannot be run.
#[must_use]
pub fn run(target: &dyn Target, cell: Cell, network: &str) -> ClientCounts {
    let setup = Setup::new(cell);
    let processes = start(target, &setup);
    // A TLS 1.3 client offers a ticket beyond its lifetime only if its own clock is slow.
    let is_slow = cell.fault == Fault::LifetimeTooShort && cell.kind.is_tls13();
    let slow = is_slow.then(|| faketime::under("+0 x0.1"));
    let slow: Vec<_> = slow.iter().flatten().map(String::as_str).collect();
    let mut scenario = Scenario {
        target,
        setup,
        processes,
        clients: Fleet::start_with_addresses(&slow, network, target.clients(cell)),
        words: format!("tls={} {}", cell.kind.version(), target.words(cell)),
        counts: ClientCounts::default(),
    };
    scenario.run(cell.fault);
    scenario.counts
}

fn start(target: &dyn Target, setup: &Setup) -> Vec<Process> {
    let mut processes = target.start(setup);
    for process in &mut processes {
        process.wait_listening(setup.port);
    }
    processes
}

impl Scenario<'_> {
    fn run(&mut self, fault: Fault) {
        match fault {
            Fault::Nothing | Fault::UncleanClose => self.rounds(3, ""),
            Fault::CacheOff | Fault::CacheTooSmall | Fault::ContextPerConnection => {
                // A few clients return at once, the others after all others.
                self.rounds(3, "each=10");
                self.rounds(3, "");
            }
            Fault::ClientResets => self.rounds(3, "reset"),
            Fault::WorkerCaches | Fault::WorkerKeys => {
                // Servers that serve workers in turn get some clients to the same one again.
                for _ in 0..3 {
                    self.rounds(1, "");
                    self.rounds(1, "each=6");
                }
                self.rounds(3, "");
            }
            Fault::LifetimeTooShort => {
                self.rounds(1, "");
                // Libraries round ages to seconds.
                sleep(Duration::from_secs(u64::from(SHORT_LIFETIME) + 2));
                self.rounds(1, "");
            }
            Fault::Reload | Fault::KeyRotated => {
                self.resume("");
                if self.setup.cell.kind.is_entry() {
                    // Some clients lose their sessions meanwhile, so that those of the others have
                    // all ages and are resumed after many others were issued.
                    sleep(Duration::from_secs(1));
                    self.rounds(2, "each=5 forget");
                    self.rounds(1, "");
                }
                self.setup.changed = true;
                self.target.change(&self.setup, &mut self.processes);
                self.return_after_change();
            }
            Fault::Restart | Fault::OtherCipher => {
                self.resume("");
                if self.target.by_wire() {
                    sleep(OWNER_FOUND);
                }
                self.setup.changed = true;
                self.processes.clear();
                // Workers may outlive the main process for a moment, and still listen.
                wait_closed(self.setup.port);
                self.processes = start(self.target, &self.setup);
                self.return_after_change();
            }
            Fault::SecondNode => {
                let first = self.setup.port;
                let second = Setup::new(self.setup.cell);
                let _second_processes = start(self.target, &second);
                self.resume("");
                for port in [second.port, second.port, first, second.port] {
                    self.connect(port, "");
                }
            }
            Fault::OtherName => {
                self.resume("sni=localhost");
                self.rounds(1, "sni=elsewhere.example");
            }
            Fault::ClockStep => {
                self.resume("");
                self.setup.step_clock();
                self.rounds(1, "");
            }
        }
    }

    /// Connects each client once to this port.
    fn connect(&mut self, port: u16, words: &str) {
        let words = format!("{} {words}", self.words);
        let round = self.clients.connect(port, &words);
        self.counts.connected += round.connected;
        self.counts.missed += round.missed;
        self.counts.ports.insert(port);
    }

    fn rounds(&mut self, count: usize, words: &str) {
        for _ in 0..count {
            self.connect(self.setup.port, words);
        }
    }

    /// Connects each client twice, before the fault: all sessions are resumed.
    fn resume(&mut self, words: &str) {
        self.rounds(2, words);
        assert_eq!(self.counts.missed, 0, "missed before the fault");
    }

    /// Connects each client after a change. Some return twice before the others return.
    fn return_after_change(&mut self) {
        self.rounds(2, "each=10");
        self.rounds(1, "");
    }
}
