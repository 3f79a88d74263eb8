//! mbedTLS, observed on the wire only. Debian's version is a server of TLS 1.2 only.

use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::process::{Process, fixture, run};

/// A small server on mbedTLS, since Debian has no package of `ssl_server2`.
#[derive(Debug)]
pub struct MbedTls {
    directory: TempDir,
}

impl MbedTls {
    /// Compiles the server.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn build() -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let mut compiler = Command::new("cc");
        compiler.arg("-O1").arg("-o");
        compiler.arg(directory.path().join("server"));
        compiler.arg(fixture("matrix/server.c"));
        run(compiler.args(["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]));
        Self { directory }
    }
}

impl Target for MbedTls {
    fn name(&self) -> &'static str {
        "mbedTLS"
    }

    fn by_wire(&self) -> bool {
        true
    }

    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        match (cell.fault, cell.kind) {
            (_, Kind::Stateless | Kind::Stateful) => None,
            (
                Fault::Nothing
                | Fault::CacheOff
                | Fault::CacheTooSmall
                | Fault::LifetimeTooShort
                | Fault::Restart
                | Fault::KeyRotated
                | Fault::SecondNode,
                _,
            ) => usual_truth(cell),
            // mbedTLS removes no session after a reset.
            (Fault::ClientResets, _) => Some(&[]),
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let sessions = match setup.cell.kind {
            _ if setup.has(Fault::CacheOff) => "off",
            Kind::Id => "ids",
            _ => "tickets",
        };
        let cache = if setup.has(Fault::CacheTooSmall) {
            "10"
        } else {
            "1000"
        };
        let mut command = Command::new(self.directory.path().join("server"));
        command.arg(&ec().cert).arg(&ec().key);
        command.args([&setup.port.to_string(), sessions]);
        command.args([&setup.lifetime().to_string(), cache]);
        vec![Process::spawn(&mut command)]
    }

    fn change(&self, _: &Setup, processes: &mut Vec<Process>) {
        // The server creates another key before the next connection.
        processes[0].signal(Signal::SIGHUP);
    }
}
