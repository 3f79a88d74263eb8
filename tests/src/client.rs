//! Clients that report their own handshakes: the Python client, and a raw one that sends malformed
//! or incomplete handshakes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;

use serde::Deserialize;

use crate::poll::{DEADLINE, poll_until};
use crate::process::{PYTHON, Process, fixture, run};

/// Source addresses of the observed connections; each is a separate peer of the server.
pub const SOURCES: &[&str] = &[
    "127.0.0.2",
    "127.0.0.3",
    "127.0.0.4",
    "127.0.0.5",
    "127.0.0.6",
    "127.0.0.7",
];

/// Counts of one source address, according to `session_reused` of the client's library.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Full handshakes.
    pub full: u32,
    /// Resumed handshakes.
    pub resumed: u32,
    /// Failed handshakes.
    pub failed: u32,
    /// Completed handshakes that offered a session.
    #[serde(default)]
    pub offered: u32,
    /// TCP retransmissions of the client's sockets until the end of the handshake, from `TCP_INFO`.
    #[serde(default)]
    pub retransmits: u32,
    /// Error messages of the failed ones.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// Report of a client run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Counts by source address; the empty string stands for an address chosen by the kernel.
    pub rows: BTreeMap<String, Row>,
}

impl Report {
    /// Returns the sum of one column.
    pub fn total(&self, column: impl Fn(&Row) -> u32) -> u32 {
        self.rows.values().map(column).sum()
    }

    /// Adds the rows of another report.
    pub fn merge(&mut self, other: &Self) {
        for (source, row) in &other.rows {
            let into = self.rows.entry(source.clone()).or_default();
            into.full += row.full;
            into.resumed += row.resumed;
            into.failed += row.failed;
            into.offered += row.offered;
            into.retransmits += row.retransmits;
            into.errors.extend_from_slice(&row.errors);
        }
    }

    /// Asserts that every row has both full and resumed handshakes and that none failed.
    ///
    /// # Panics
    /// If the report would prove nothing.
    pub fn assert_mixed(&self, at_least: u32) {
        let total = self.total(|row| row.full + row.resumed);
        assert!(total >= at_least, "only {total} handshakes: {self:?}");
        assert_eq!(
            self.total(|row| row.failed),
            0,
            "unexpected failures: {self:?}"
        );
        for (source, row) in &self.rows {
            assert!(
                row.full > 0 && row.resumed > 0,
                "{source} has no mix: {row:?}"
            );
        }
    }
}

/// Builder of a Python client run.
#[derive(Debug)]
pub struct Client {
    arguments: Vec<OsString>,
    /// Command prefix of the interpreter, such as `ip netns exec NAME`.
    prefix: Vec<String>,
}

impl Client {
    /// Returns a client of `127.0.0.1:port` that makes one full handshake from an address that the
    /// kernel chooses.
    #[must_use]
    pub fn new(port: u16) -> Self {
        let client = Self {
            arguments: Vec::new(),
            prefix: Vec::new(),
        };
        client.with("--port", port.to_string())
    }

    /// Adds an option of `fixtures/client.py` with its value.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<OsString>) -> Self {
        self.arguments.extend([option.into(), value.into()]);
        self
    }

    /// Sets the number of connections per worker, which use all of [`SOURCES`] in turn.
    #[must_use]
    pub fn connections(self, count: u32) -> Self {
        self.with("--connections", count.to_string())
            .with("--sources", SOURCES.join(","))
    }

    /// Sets the number of concurrent workers; `mode` is `threads` or `processes`.
    #[must_use]
    pub fn workers(self, count: u32, mode: &str) -> Self {
        self.with("--workers", count.to_string())
            .with("--mode", mode)
    }

    /// Uses `source` as the only source address.
    #[must_use]
    pub fn once_from(self, source: &str) -> Self {
        self.with("--sources", source)
    }

    /// Runs the client with a command prefix, such as `ip netns exec NAME`.
    #[must_use]
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    fn command(&self) -> Command {
        let mut words = self.prefix.iter().map(String::as_str).chain([PYTHON]);
        let mut command = Command::new(words.next().unwrap_or(PYTHON));
        command
            .args(words)
            .arg(fixture("client.py"))
            .args(&self.arguments);
        command
    }

    /// Runs the client until it ends.
    ///
    /// # Panics
    /// If the client itself fails; failed handshakes are part of its report.
    #[must_use]
    pub fn run(&self) -> Report {
        let text = run(&mut self.command());
        let rows = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("no report: {error}: {text:?}"));
        Report { rows }
    }

    /// Starts the client without waiting.
    #[must_use]
    pub fn spawn(&self) -> Process {
        Process::spawn(&mut self.command())
    }
}

/// Runs the raw client in `mode` with `connections` connections from [`SOURCES`] in turn.
///
/// # Panics
/// If it did not complete its task.
pub fn misbehave(mode: &str, port: u16, connections: u32) {
    let output = run(&mut raw(mode, port, connections));
    assert_eq!(output.lines().last(), Some("done"), "{output}");
}

/// Starts the raw client with one connection from the first source and returns once the server's
/// flight has arrived. The server waits in the middle of a handshake until the process is dropped.
///
/// # Panics
/// If the server does not answer.
#[must_use]
pub fn hold_open(port: u16) -> Process {
    start_raw("hold", port)
}

/// Like [`hold_open`], but leaves the server's data unread: when the process ends, its kernel
/// resets the connection (RFC 2525, section 2.17).
///
/// # Panics
/// If the server does not answer.
#[must_use]
pub fn hold_unread(port: u16) -> Process {
    start_raw("freeze", port)
}

/// Starts a raw client that sends half a ClientHello, and returns once the server has read it.
///
/// # Panics
/// If the server does not read it.
#[must_use]
pub fn hold_silent(port: u16) -> Process {
    start_raw("silent", port)
}

fn start_raw(mode: &str, port: u16) -> Process {
    let process = Process::spawn(&mut raw(mode, port, 1));
    poll_until(
        "the server reads the ClientHello",
        DEADLINE,
        || match process.stdout().as_str() {
            "holding\n" => Ok(()),
            other => Err(format!("{other:?}; stderr: {}", process.stderr())),
        },
    );
    process
}

fn raw(mode: &str, port: u16, connections: u32) -> Command {
    let mut command = Command::new(PYTHON);
    command
        .arg(fixture("raw.py"))
        .arg(mode)
        .args(["--port", &port.to_string()]);
    command.args([
        "--sources",
        &SOURCES.join(","),
        "--connections",
        &connections.to_string(),
    ]);
    command
}
