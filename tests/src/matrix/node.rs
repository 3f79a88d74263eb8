//! Node.js, which moves TLS records through memory BIOs: one process, or a cluster of workers.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::process::{Process, fixture};

const WORKERS: u32 = 3;

/// Node.js.
#[derive(Debug)]
pub struct Node;

impl Target for Node {
    fn name(&self) -> &'static str {
        "Node.js"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // Node.js offers no look-up of stateful tickets to the application.
            (fault, Kind::Stateful) if fault != Fault::CacheOff => None,
            // The workers of a cluster share their ticket keys. Each stores its own sessions.
            (Fault::WorkerKeys, Kind::Id) => None,
            (Fault::WorkerKeys, _) => Some(&[]),
            // The application removes no stored session.
            (Fault::ClientResets, _) => Some(&[]),
            (
                Fault::Nothing
                | Fault::CacheOff
                | Fault::LifetimeTooShort
                | Fault::Restart
                | Fault::WorkerCaches
                | Fault::KeyRotated
                | Fault::SecondNode
                | Fault::ClockStep,
                _,
            ) => usual_truth(cell),
            _ => None,
        }
    }

    fn is_hidden(&self, cell: Cell) -> bool {
        // Look-ups in the library of Node.js are not observed, so that a session that is not stored
        // and one that is always rejected look the same. The age of a TLS 1.3 ticket, which is
        // encrypted when it is issued, shows only at its look-up.
        match cell.fault {
            Fault::CacheOff => true,
            Fault::LifetimeTooShort | Fault::ClockStep => cell.kind == Kind::Stateless,
            _ => false,
        }
    }

    fn holder(&self) -> Option<Process> {
        let idle = ["-e", "setInterval(() => {}, 1000)"];
        Some(Process::spawn(Command::new("node").args(idle)))
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let cluster = setup.has(Fault::WorkerCaches) || setup.has(Fault::WorkerKeys);
        let key = setup
            .has(Fault::KeyRotated)
            .then(|| setup.write("keys", setup.ticket_key(48)));
        let options = json!({
            "port": setup.port,
            "cert": ec().cert,
            "key": ec().key,
            "version": setup.cell.kind.version(),
            "tickets": !setup.cell.kind.is_entry(),
            "lifetime": setup.lifetime(),
            "workers": if cluster { WORKERS } else { 0 },
            "store": setup.cell.kind.is_entry() && !setup.has(Fault::CacheOff),
            "ticketKey": key,
        });
        let mut command = Command::new("node");
        setup.clock(&mut command);
        let command = command
            .arg(fixture("matrix/server.js"))
            .arg(options.to_string());
        let process = Process::spawn(command);
        if cluster {
            process.wait_stdout("listening\n");
        }
        vec![process]
    }

    fn clients(&self, _: Cell) -> u32 {
        // The primary distributes connections in turn, so that the number must not be a multiple of
        // the workers.
        10 * WORKERS + 2
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        setup.write("keys", setup.ticket_key(48));
        processes[0].signal(Signal::SIGHUP);
    }
}
