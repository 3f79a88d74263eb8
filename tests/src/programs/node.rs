//! Node.js as HTTPS server and client.

use std::path::Path;
use std::process::Command;

use super::Counts;
use crate::certificates::ec;
use crate::ports::free_port;
use crate::process::{Process, fixture, run};

/// A running HTTPS server.
#[derive(Debug)]
pub struct Server {
    /// Port on 127.0.0.1.
    pub port: u16,
    process: Process,
}

impl Server {
    /// Starts the program `node` with one version of TLS.
    ///
    /// # Panics
    /// If it does not listen in time.
    #[must_use]
    pub fn start(node: &Path, version: &str) -> Self {
        let port = free_port();
        let mut command = Command::new(node);
        command
            .arg(fixture("node/server.js"))
            .args([&port.to_string(), version]);
        let mut process = Process::spawn(command.arg(&ec().cert).arg(&ec().key));
        process.wait_listening(port);
        Self { port, process }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Makes `connections` HTTPS requests with the program `node`; every fifth offers no session.
///
/// # Panics
/// If a request fails.
#[must_use]
pub fn requests(node: &Path, port: u16, connections: u32) -> Counts {
    requests_with(node, port, connections, 5)
}

/// Like [`requests`], but every `fresh_every`-th request offers no session.
///
/// # Panics
/// If a request fails.
#[must_use]
pub fn requests_with(node: &Path, port: u16, connections: u32, fresh_every: u32) -> Counts {
    let mut command = Command::new(node);
    command.arg(fixture("node/client.js")).arg(port.to_string());
    let output = run(command.args([connections, fresh_every].map(|number| number.to_string())));
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("no report: {error}: {output:?}"))
}
