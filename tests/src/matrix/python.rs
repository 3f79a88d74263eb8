//! Servers on Python's `ssl`: threads with socket BIOs, and asyncio with memory BIOs.

use std::process::Command;

use nix::sys::signal::Signal;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::{Target, wait_listeners};
use crate::certificates::ec;
use crate::process::{PYTHON, Process, fixture};

const WORKERS: usize = 3;

/// Server with a thread per connection.
#[derive(Debug)]
pub struct Threads;

/// Server on asyncio.
#[derive(Debug)]
pub struct Asyncio;

impl Target for Threads {
    fn name(&self) -> &'static str {
        "Python threads"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        truth(cell)
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        start(setup, "threads")
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        change(setup, processes);
    }
}

impl Target for Asyncio {
    fn name(&self) -> &'static str {
        "Python asyncio"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match cell.fault {
            // asyncio always sends close_notify.
            Fault::UncleanClose => None,
            _ => truth(cell),
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        start(setup, "asyncio")
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        change(setup, processes);
    }
}

fn truth(cell: Cell) -> Option<&'static [&'static str]> {
    match (cell.fault, cell.kind) {
        // The process replaces its context; OpenSSL removes the sessions of the old one.
        (Fault::Reload, Kind::Id | Kind::Stateful) => Some(&["removed"]),
        (Fault::Reload, _) => Some(&["retired_key"]),
        // Python uses the same session ID context for all names.
        (Fault::OtherName, _) => None,
        _ => usual_truth(cell),
    }
}

fn start(setup: &Setup, model: &str) -> Vec<Process> {
    let mut command = Command::new(PYTHON);
    setup.clock(&mut command);
    command
        .arg(fixture("matrix/server.py"))
        .args(["--model", model]);
    command.args([
        "--port",
        &setup.port.to_string(),
        "--tls",
        setup.cell.kind.version(),
    ]);
    command
        .arg("--cert")
        .arg(&ec().cert)
        .arg("--key")
        .arg(&ec().key);
    command.args(["--lifetime", &setup.lifetime().to_string()]);
    if setup.cell.kind.is_entry() {
        command.arg("--no-tickets");
    }
    match setup.cell.fault {
        Fault::CacheOff => command.arg("--no-cache"),
        Fault::CacheTooSmall => command.args(["--cache", "10"]),
        Fault::Reload => command.arg("--reload-context"),
        Fault::WorkerCaches => command.args(["--workers", &WORKERS.to_string()]),
        Fault::WorkerKeys => command.args(["--own-contexts", "--workers", &WORKERS.to_string()]),
        Fault::ContextPerConnection => command.arg("--context-per-connection"),
        Fault::UncleanClose => command.arg("--unclean"),
        _ => &mut command,
    };
    if setup.has_ticket_key() {
        command
            .arg("--ticket-key")
            .arg(setup.write("keys", setup.ticket_key(80)));
    }
    if let Some(suite) = setup.cipher() {
        command.args(["--ciphersuites", suite]);
    }
    let process = Process::spawn(&mut command);
    if setup.has(Fault::WorkerCaches) || setup.has(Fault::WorkerKeys) {
        wait_listeners(setup.port, WORKERS);
    }
    vec![process]
}

fn change(setup: &Setup, processes: &[Process]) {
    setup.write("keys", setup.ticket_key(80));
    processes[0].signal(Signal::SIGHUP);
}
