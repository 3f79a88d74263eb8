//! Runs a server's cells under one agent, and holds the agent's reasons to the truth.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use tempfile::TempDir;

use super::cell::{Cell, Fault, Kind};
use super::setup::{SHORT_LIFETIME, Setup};
use super::target::Target;
use crate::fleet::Fleet;
use crate::poll::{DEADLINE, poll_until};
use crate::process::Process;
use crate::{Agent, Metrics, Server, servers::Sessions};

/// Cells that run at the same time, each with services and client addresses of its own.
const PARALLEL: usize = 3;
/// Share of the misses whose reason is named.
const NAMED: f64 = 0.95;
const MISSES: &str = "reprise_peer_cache_misses_total";
const HANDSHAKES: &str = "reprise_peer_handshakes_total";
const SERVER: (&str, &str) = ("role", "server");
const CLIENT: (&str, &str) = ("role", "client");
/// Runs only the cells whose name contains it.
const FILTER: &str = "REPRISE_MATRIX";

/// What the clients of one cell saw.
#[derive(Debug, Clone, Default)]
struct Truth {
    connected: u32,
    missed: u32,
    ports: BTreeSet<u16>,
}

impl Truth {
    fn connect(&mut self, fleet: &mut Fleet, port: u16, words: &str) {
        let round = fleet.connect(port, words);
        self.connected += round.connected;
        self.missed += round.missed;
        self.ports.insert(port);
    }
}

/// The agent's reasons in one cell.
#[derive(Debug, Default)]
struct Outcome {
    reasons: BTreeMap<String, u32>,
    missed: u32,
    wrong: u32,
    unknown: u32,
    evidence: String,
}

/// Runs all cells of a server; demands that no reason is wrong and that nearly all are named.
///
/// # Panics
/// When that is not so, or a cell cannot be staged.
pub fn hold(target: &dyn Target) {
    let cells: Vec<_> = cells(target);
    let directory = TempDir::new().expect("failed to create a directory for the peer file");
    let file = directory.path().join("peers");
    let groups = (0..cells.len())
        .map(|number| format!("{} = [\"{}.0/24\"]\n", group(number), network(number)));
    std::fs::write(&file, format!("[groups]\n{}", groups.collect::<String>()))
        .expect("failed to write the peer file");
    // They hold the libraries, to which the agent is then attached already.
    let _clients_library = Server::s_server(Sessions::Tickets);
    let holder = target.holder();
    let agent = Agent::start(["--peer-file".as_ref(), file.as_os_str()]);
    agent.wait_libraries(1 + usize::from(holder.is_some()));
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    scope(|threads| {
        for _ in 0..PARALLEL {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(cell, expected)) = cells.get(number) else {
                        break;
                    };
                    let run = AssertUnwindSafe(|| observe(target, cell, number, expected, &agent));
                    let outcome = catch_unwind(run).map_err(message);
                    outcomes
                        .lock()
                        .expect("no thread panics")
                        .insert(number, outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no thread panics");
    agent.assert_healthy();
    report(target, &cells, outcomes);
}

fn cells(target: &dyn Target) -> Vec<(Cell, &'static [&'static str])> {
    let wanted = std::env::var(FILTER).unwrap_or_default();
    let all = Fault::ALL
        .into_iter()
        .flat_map(|fault| Kind::ALL.map(|kind| Cell { kind, fault }));
    all.filter(|cell| cell.to_string().contains(&wanted))
        .filter_map(|cell| Some((cell, target.truth(cell)?)))
        .collect()
}

fn group(number: usize) -> String {
    format!("cell-{number}")
}

fn network(number: usize) -> String {
    format!("127.70.{number}")
}

fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "a panic without text".to_owned(),
    }
}

fn start(target: &dyn Target, setup: &Setup) -> Vec<Process> {
    let mut processes = target.start(setup);
    for process in &mut processes {
        process.wait_listening(setup.port);
    }
    processes
}

/// Stages the cell, and returns the agent's reasons once it has counted all that the clients saw.
fn observe(
    target: &dyn Target,
    cell: Cell,
    number: usize,
    expected: &[&str],
    agent: &Agent,
) -> Outcome {
    let truth = stage(target, cell, number);
    assert_eq!(
        truth.missed == 0,
        expected.is_empty(),
        "the fault was not staged: {truth:?}"
    );
    let group = group(number);
    let services: Vec<_> = truth
        .ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let server = [("peer", group.as_str()), SERVER];
    let clients = services
        .iter()
        .map(|service| [("peer", service.as_str()), CLIENT]);
    let metrics = poll_until("the agent counts what the clients saw", DEADLINE, || {
        let metrics = agent.metrics();
        let count = |family, labels: &[(&str, &str)]| metrics.sum(family, labels);
        let of_clients = |family| clients.clone().map(|labels| count(family, &labels)).sum();
        let counted: [f64; 4] = [
            count(HANDSHAKES, &server),
            of_clients(HANDSHAKES),
            count(MISSES, &server),
            of_clients(MISSES),
        ];
        let [connected, missed] = [truth.connected, truth.missed].map(f64::from);
        if counted == [connected, connected, missed, missed] {
            Ok(metrics)
        } else {
            Err(format!("{counted:?}; truth: {truth:?}"))
        }
    });
    let mut outcome = outcome(&metrics, &server, expected);
    // Of a server on this host, a client's reason is the server's or not known.
    for labels in clients {
        let of_client = self::outcome(&metrics, &labels, expected);
        if of_client.wrong > 0 {
            outcome.wrong += of_client.wrong;
            let _ = write!(outcome.evidence, "clients: {:?}", of_client.reasons);
        }
    }
    if outcome.wrong + outcome.unknown > 0 {
        outcome.evidence += &evidence(agent, &group);
    }
    outcome
}

fn outcome(metrics: &Metrics, peer: &[(&str, &str)], expected: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    for sample in metrics.matching(MISSES, peer) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        let count = sample.value as u32;
        let reason = sample.labels["reason"].clone();
        outcome.missed += count;
        match reason.as_str() {
            "unknown" => outcome.unknown += count,
            reason if expected.contains(&reason) => {}
            _ => outcome.wrong += count,
        }
        if count > 0 {
            outcome.reasons.insert(reason, count);
        }
    }
    outcome
}

/// What the agent says of the newest miss of a peer.
fn evidence(agent: &Agent, group: &str) -> String {
    let body = agent
        .get("/api/v1/peers")
        .map(|response| response.body)
        .unwrap_or_default();
    let peers: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap_or_default();
    let row = peers
        .into_iter()
        .find(|row| row["peer"] == group && row["role"] == "server");
    row.map(|row| row["advice"].to_string()).unwrap_or_default()
}

/// Runs the servers and clients of a cell.
fn stage(target: &dyn Target, cell: Cell, number: usize) -> Truth {
    let mut setup = Setup::new(cell);
    let port = setup.port;
    let mut processes = start(target, &setup);
    // A client whose clock is slow offers a ticket of TLS 1.3 beyond its lifetime.
    let slow: &[&str] = if cell.fault == Fault::LifetimeTooShort && cell.kind.is_tls13() {
        &["faketime", "-f", "+0 x0.1"]
    } else {
        &[]
    };
    let mut fleet = Fleet::start_with_addresses(slow, &network(number), target.clients(cell));
    let words = format!("tls={} {}", cell.kind.version(), target.words(cell));
    let mut truth = Truth::default();
    // Before the fault, sessions are resumed.
    let before = |truth: &mut Truth, fleet: &mut Fleet, words: &str| {
        truth.connect(fleet, port, words);
        truth.connect(fleet, port, words);
        assert_eq!(truth.missed, 0, "missed before the fault");
    };
    match cell.fault {
        Fault::Nothing
        | Fault::CacheOff
        | Fault::CacheTooSmall
        | Fault::ContextPerConnection
        | Fault::UncleanClose => {
            for _ in 0..3 {
                truth.connect(&mut fleet, port, &words);
            }
        }
        Fault::LifetimeTooShort => {
            truth.connect(&mut fleet, port, &words);
            // What is waited for is time itself, beyond what libraries round to seconds.
            sleep(Duration::from_secs(u64::from(SHORT_LIFETIME) + 2));
            truth.connect(&mut fleet, port, &words);
        }
        Fault::Reload | Fault::KeyRotated => {
            before(&mut truth, &mut fleet, &words);
            setup.changed = true;
            target.change(&setup, &mut processes);
            after_change(&mut truth, &mut fleet, port, &words);
        }
        Fault::Restart | Fault::OtherCipher => {
            before(&mut truth, &mut fleet, &words);
            setup.changed = true;
            drop(processes);
            processes = start(target, &setup);
            after_change(&mut truth, &mut fleet, port, &words);
        }
        Fault::WorkerCaches | Fault::WorkerKeys => {
            for _ in 0..6 {
                truth.connect(&mut fleet, port, &words);
            }
        }
        Fault::SecondNode => {
            let other = Setup::new(cell);
            let _other = start(target, &other);
            truth.connect(&mut fleet, port, &words);
            for port in [other.port, port, other.port] {
                truth.connect(&mut fleet, port, &words);
            }
        }
        Fault::ClientResets => {
            let words = format!("{words} reset");
            for _ in 0..3 {
                truth.connect(&mut fleet, port, &words);
            }
        }
        Fault::OtherName => {
            before(&mut truth, &mut fleet, &format!("{words} sni=localhost"));
            truth.connect(&mut fleet, port, &format!("{words} sni=elsewhere.example"));
        }
        Fault::ClockStep => {
            before(&mut truth, &mut fleet, &words);
            setup.step_clock();
            truth.connect(&mut fleet, port, &words);
        }
    }
    drop(processes);
    truth
}

/// Clients return after a change, not all at once: the first ones come a second time before the
/// others.
fn after_change(truth: &mut Truth, fleet: &mut Fleet, port: u16, words: &str) {
    for every in [10, 10, 1] {
        truth.connect(fleet, port, &format!("{words} each={every}"));
    }
}

/// Prints all outcomes; panics where one is wrong or too many are unknown.
fn report(
    target: &dyn Target,
    cells: &[(Cell, &[&str])],
    outcomes: BTreeMap<usize, Result<Outcome, String>>,
) {
    let (mut text, mut wrong, mut shares) = (String::new(), 0, Vec::new());
    for (number, outcome) in outcomes {
        let (cell, expected) = cells[number];
        let verdict = match outcome {
            Ok(outcome) => {
                let named = outcome.missed - outcome.wrong - outcome.unknown;
                if outcome.missed > 0 {
                    shares.push(f64::from(named) / f64::from(outcome.missed));
                }
                wrong += outcome.wrong;
                let mark = if outcome.wrong > 0 { "WRONG" } else { "right" };
                format!("{mark}: {:?} {}", outcome.reasons, outcome.evidence)
            }
            Err(error) => {
                wrong += 1;
                format!("FAILED: {error}")
            }
        };
        let _ = writeln!(text, "{}: {cell}: {expected:?}: {verdict}", target.name());
    }
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let named = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
    println!(
        "{text}{}: {} cells, {:.1} % named",
        target.name(),
        cells.len(),
        100.0 * named
    );
    assert_eq!(wrong, 0, "wrong reasons, or cells that failed");
    assert!(
        target.by_wire() || shares.is_empty() || named >= NAMED,
        "too many misses without a reason"
    );
}
