//! Redis over TLS and its own clients.

use std::process::Command;

use tempfile::TempDir;

use super::Counts;
use crate::certificates::ec;
use crate::ports::free_port;
use crate::process::{Process, run};

/// A running server.
#[derive(Debug)]
pub struct Redis {
    /// TLS port on 127.0.0.1.
    pub port: u16,
    _process: Process,
    _directory: TempDir,
}

impl Redis {
    /// Starts it without a plain-text port.
    ///
    /// # Panics
    /// If it does not listen in time.
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

    /// Runs `redis-benchmark` with this many concurrent connections and returns the number of
    /// connections that the server counted. All are full handshakes: these clients store no session
    /// (src/cli_common.c creates a new object for each connection).
    ///
    /// # Panics
    /// If a client fails.
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
        // The first `redis-cli` was a connection too and is included in its own answer.
        Counts {
            full: after - before + 1,
            resumed: 0,
        }
    }

    /// Returns the number of connections that the server has counted, including the one that asks.
    fn received(&self) -> u32 {
        let output = run(self.client("redis-cli").args(["info", "stats"]));
        let count = output
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        let count = count.expect("Redis counts its connections");
        count.trim().parse().expect("a count is a number")
    }

    /// Command for one of its clients, with the server's address.
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
