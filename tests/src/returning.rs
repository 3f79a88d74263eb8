//! Clients that return after intervals of a known distribution (`fixtures/returning.py`).

use std::process::Command;

use serde::Deserialize;

use crate::host_lock;
use crate::process::{PYTHON, fixture, run};

/// Clients with addresses of their own, a third each with constant, exponential and heavy-tailed
/// intervals.
#[derive(Debug, Clone, Copy)]
pub struct Returning {
    /// Number of clients.
    pub clients: u32,
    /// Connections of all clients.
    pub connections: u32,
}

/// Report of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Returned {
    /// Completed connections.
    pub connected: u32,
    /// Those that offered a session.
    pub offered: u32,
    /// Those that resumed it.
    pub resumed: u32,
}

impl Returned {
    /// Share of the offers that were resumed.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        f64::from(self.resumed) / f64::from(self.offered)
    }
}

impl Returning {
    /// Runs the clients, without sessions at first, against the server at `port`.
    ///
    /// # Panics
    /// If a connection fails.
    #[must_use]
    pub fn run(self, port: u16, seed: u32) -> Returned {
        host_lock::acquire();
        let mut command = Command::new(PYTHON);
        command.arg(fixture("returning.py"));
        for (name, value) in [
            ("--port", u32::from(port)),
            ("--clients", self.clients),
            ("--connections", self.connections),
            ("--seed", seed),
        ] {
            command.args([name, &value.to_string()]);
        }
        let report = run(command.args(["--returns", "mixed"]));
        serde_json::from_str(&report).expect("no report")
    }
}
