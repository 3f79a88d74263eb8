//! Runs the cells of a server under one agent, and asserts the reasons that the agent reports.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;

use tempfile::TempDir;

use super::cell::{Cell, Fault, Kind};
use super::outcome::{self, Outcome};
use super::scenario;
use super::target::Target;
use crate::{Agent, Server, servers::Sessions};

/// Cells that run at the same time. Each has its own ports and client addresses.
const PARALLEL: usize = 3;
/// Minimum share of misses with a reason.
const NAMED: f64 = 0.95;
/// Minimum share in a representative part, where one cell with few misses counts for more.
const NAMED_OF_PART: f64 = 0.9;
/// Environment variable that selects the cells whose name contains its value, or one of several
/// values separated by `|`. Without it a representative part runs.
const FILTER: &str = "REPRISE_MATRIX";
/// Its value that selects all cells.
const ALL: &str = "all";

/// A cell with its true reasons.
type TrueCell = (Cell, &'static [&'static str]);
type Outcomes = BTreeMap<usize, Result<Outcome, String>>;

/// Runs all cells of a server. Asserts that no reason is wrong and that enough misses have one.
///
/// # Panics
/// If the assertion fails, or a cell cannot be run.
pub fn assert_reasons(target: &dyn Target) {
    let cells = cells(target);
    let directory = TempDir::new().expect("failed to create a directory for the peer file");
    let peer_file = directory.path().join("peers");
    write_groups(&peer_file, cells.len());
    // These processes use the libraries, so that the agent attaches to them before the cells start.
    let _libssl = Server::s_server(Sessions::Tickets);
    let holder = target.holder();
    let agent = Agent::start(["--peer-file".as_ref(), peer_file.as_os_str()]);
    agent.wait_libraries(1 + usize::from(holder.is_some()));
    let outcomes = run_cells(target, &cells, &agent);
    agent.assert_healthy();
    report(target, &cells, outcomes);
}

/// The cells to run: those that the environment variable selects, else a representative part.
fn cells(target: &dyn Target) -> Vec<TrueCell> {
    let wanted = std::env::var(FILTER).ok();
    let of_fault = |(number, fault): (usize, Fault)| {
        let kinds = Kind::ALL.map(|kind| Cell { kind, fault });
        let cells = kinds
            .into_iter()
            .filter_map(|cell| Some((cell, target.truth(cell)?)));
        let cells: Vec<_> = cells.collect();
        match wanted.as_deref() {
            Some(ALL) => cells,
            Some(wanted) => cells
                .into_iter()
                .filter(|(cell, _)| is_wanted(cell, wanted))
                .collect(),
            // Each fault with one kind of session, a different one for each.
            None => {
                let kind = number % cells.len().max(1);
                cells.into_iter().skip(kind).take(1).collect()
            }
        }
    };
    let faults = Fault::ALL.into_iter().enumerate();
    faults.flat_map(of_fault).collect()
}

/// Whether the name of a cell contains one of the values that `|` separates.
fn is_wanted(cell: &Cell, wanted: &str) -> bool {
    let name = cell.to_string();
    wanted.split('|').any(|part| name.contains(part))
}

/// Peer group of the clients of a cell.
fn group(number: usize) -> String {
    format!("cell-{number}")
}

/// First three bytes of the addresses of the clients of a cell.
fn network(number: usize) -> String {
    format!("127.70.{number}")
}

/// Writes a peer file with a group per cell.
fn write_groups(path: &Path, cells: usize) {
    let mut text = "[groups]\n".to_owned();
    for number in 0..cells {
        let _ = writeln!(text, "{} = [\"{}.0/24\"]", group(number), network(number));
    }
    std::fs::write(path, text).expect("failed to write the peer file");
}

fn run_cells(target: &dyn Target, cells: &[TrueCell], agent: &Agent) -> Outcomes {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    scope(|threads| {
        for _ in 0..PARALLEL {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((cell, expected)) = cells.get(number) else {
                        break;
                    };
                    let run = AssertUnwindSafe(|| observe(target, *cell, number, expected, agent));
                    let outcome = catch_unwind(run).map_err(message);
                    let mut outcomes = outcomes.lock().expect("no thread panics");
                    outcomes.insert(number, outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no thread panics")
}

fn observe(
    target: &dyn Target,
    cell: Cell,
    number: usize,
    expected: &[&str],
    agent: &Agent,
) -> Outcome {
    let counts = scenario::run(target, cell, &network(number));
    assert_eq!(
        counts.missed == 0,
        expected.is_empty(),
        "the fault had no effect: {counts:?}"
    );
    outcome::read(agent, &group(number), &counts, expected)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "a panic without text".to_owned(),
    }
}

/// Prints the outcome of each cell, and asserts.
fn report(target: &dyn Target, cells: &[TrueCell], outcomes: Outcomes) {
    let (mut text, mut wrong, mut shares) = (String::new(), 0, Vec::new());
    for (number, outcome) in outcomes {
        let (cell, expected) = cells[number];
        let _ = write!(text, "{}: {cell}: {expected:?}: ", target.name());
        match outcome {
            Ok(outcome) => {
                let named = outcome
                    .missed
                    .saturating_sub(outcome.wrong + outcome.unknown);
                if outcome.missed > 0 && !target.is_hidden(cell) {
                    shares.push(f64::from(named) / f64::from(outcome.missed));
                }
                wrong += outcome.wrong;
                let _ = writeln!(text, "{outcome}");
            }
            Err(error) => {
                wrong += 1;
                let _ = writeln!(text, "FAILED {error}");
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let named = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
    println!(
        "{text}{}: {} cells, {:.1} % named",
        target.name(),
        cells.len(),
        100.0 * named
    );
    assert_eq!(wrong, 0, "wrong reasons or failed cells");
    let minimum = if std::env::var(FILTER).as_deref() == Ok(ALL) {
        NAMED
    } else {
        NAMED_OF_PART
    };
    assert!(
        target.by_wire() || shares.is_empty() || named >= minimum,
        "too many misses without a reason"
    );
}
