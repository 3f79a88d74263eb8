//! Redis over TLS, and its own clients.

use std::process::Command;

use tempfile::TempDir;

use super::Counts;
use crate::certificates::ec;
use crate::ports::free_port;
use crate::process::{Process, run};

/// A running server.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens for TLS.
    pub port: u16,
    _process: Process,
    _directory: TempDir,
}

impl Redis {
    /// Starts it, without a port for clear text.
    ///
    /// # Panics
    /// When it does not listen in time.
    #[must_use]
    pub fn start() -> Self {
        let directory = TempDir::new().expect("failed to create a directory for a server");
        let port = free_port();
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                "0",
                "--tls-port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
            ])
            .args([
                "--tls-auth-clients",
                "no",
                "--tls-protocols",
                "TLSv1.3",
                "--save",
                "",
            ])
            .arg("--dir")
            .arg(directory.path())
            .arg("--tls-cert-file")
            .arg(&ec().cert)
            .arg("--tls-key-file")
            .arg(&ec().key)
            .arg("--tls-ca-cert-file")
            .arg(&ec().cert);
        let mut process = Process::spawn(&mut command);
        process.wait_listening(port);
        Self {
            port,
            _process: process,
            _directory: directory,
        }
    }

    /// Runs `redis-benchmark` with this many connections at a time, then asks the server how many
    /// it has had: all in full, since none of these clients keeps a session (src/cli_common.c makes
    /// a new object for each).
    ///
    /// # Panics
    /// When a client fails.
    #[must_use]
    pub fn benchmark(&self, connections: u32) -> Counts {
        let before = self.received();
        run(self.client("redis-benchmark").args([
            "-t",
            "ping_mbulk",
            "-q",
            "-n",
            "400",
            "-c",
            &connections.to_string(),
        ]));
        let after = self.received();
        // The question before was a connection too, and is counted in its own answer.
        Counts {
            full: after - before + 1,
            resumed: 0,
        }
    }

    /// Connections received so far, by the server's own count; the one that asks is among them.
    fn received(&self) -> u32 {
        let said = run(self.client("redis-cli").args(["info", "stats"]));
        let count = said
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        let count = count.expect("Redis counts its connections");
        count.trim().parse().expect("a count is a number")
    }

    /// One of its clients, with its address.
    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(program);
        client.args([
            "--tls",
            "--insecure",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
        ]);
        client
    }
}
