//! Erlang's `ssl` application, observed on the wire only. It has no tickets of TLS 1.2.

use std::process::Command;

use tempfile::TempDir;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::process::{Process, fixture, run};

/// Erlang's `ssl` application.
#[derive(Debug)]
pub struct Erlang {
    directory: TempDir,
}

impl Erlang {
    /// Compiles the server.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn build() -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let mut compiler = Command::new("erlc");
        compiler.arg("-o").arg(directory.path());
        run(compiler.arg(fixture("matrix/server.erl")));
        Self { directory }
    }
}

impl Target for Erlang {
    fn name(&self) -> &'static str {
        "Erlang"
    }

    fn by_wire(&self) -> bool {
        true
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            (_, Kind::Ticket) => None,
            // Without its cache Erlang issues no tickets of TLS 1.3.
            (Fault::CacheOff, Kind::Stateful) => Some(&[]),
            (
                Fault::Nothing
                | Fault::CacheOff
                | Fault::LifetimeTooShort
                | Fault::Restart
                | Fault::SecondNode,
                _,
            ) => usual_truth(cell),
            // Erlang removes no session after a reset.
            (Fault::ClientResets, _) => Some(&[]),
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let sessions = match setup.cell.kind {
            _ if setup.has(Fault::CacheOff) => "off",
            Kind::Stateless => "stateless",
            Kind::Stateful => "stateful",
            Kind::Id | Kind::Ticket => "ids",
        };
        let mut command = Command::new("erl");
        command
            .args(["-noinput", "-boot", "start_clean", "+S", "1", "-pa"])
            .arg(self.directory.path());
        command.args(["-s", "server", "main", "-extra"]);
        command.arg(&ec().cert).arg(&ec().key);
        command.args([&setup.port.to_string(), setup.cell.kind.version(), sessions]);
        command.args([&setup.lifetime().to_string(), "1000"]);
        vec![Process::spawn(&mut command)]
    }
}
