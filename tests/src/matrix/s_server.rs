//! `openssl s_server -www`: one process with one thread and an internal cache of 128 sessions.

use std::process::Command;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::process::Process;

/// `openssl s_server`.
#[derive(Debug)]
pub struct SServer;

impl Target for SServer {
    fn name(&self) -> &'static str {
        "s_server"
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            // Without a cache s_server issues no session IDs.
            (Fault::CacheOff, Kind::Id) => Some(&[]),
            (
                Fault::Nothing
                | Fault::CacheOff
                | Fault::CacheTooSmall
                | Fault::Restart
                | Fault::SecondNode
                | Fault::ClockStep,
                _,
            ) => usual_truth(cell),
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let mut command = Command::new("openssl");
        setup.clock(&mut command);
        let address = format!("127.0.0.1:{}", setup.port);
        command.args(["s_server", "-www", "-quiet", "-accept", &address]);
        command
            .arg("-cert")
            .arg(&ec().cert)
            .arg("-key")
            .arg(&ec().key);
        command.args(match setup.cell.kind {
            Kind::Id => ["-tls1_2", "-no_ticket"].as_slice(),
            Kind::Ticket => &["-tls1_2"],
            Kind::Stateless => &["-tls1_3"],
            Kind::Stateful => &["-tls1_3", "-no_ticket"],
        });
        if setup.has(Fault::CacheOff) {
            command.arg("-no_cache");
        }
        vec![Process::spawn(&mut command)]
    }

    fn clients(&self, cell: Cell) -> u32 {
        if cell.fault == Fault::CacheTooSmall {
            200
        } else {
            30
        }
    }
}
