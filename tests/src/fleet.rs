//! A fleet of clients, each of which offers its session from the previous connection
//! (`fixtures/fleet.py`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use crate::host_lock;
use crate::process::{PYTHON, fixture};

/// Report of the clients on one round of connections.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Round {
    /// Completed handshakes.
    pub connected: u32,
    /// Completed handshakes that offered a session.
    pub offered: u32,
    /// Resumed handshakes.
    pub resumed: u32,
    /// Sessions that the clients' library offered and that were not resumed.
    pub missed: u32,
    /// Failed connections.
    pub failed: u32,
    /// The last error.
    pub errors: Vec<String>,
}

/// Running clients; killed when dropped.
#[derive(Debug)]
pub struct Fleet {
    child: Child,
    commands: ChildStdin,
    rounds: BufReader<ChildStdout>,
}

impl Fleet {
    /// Starts this number of clients without sessions.
    ///
    /// # Panics
    /// If they cannot be started.
    #[must_use]
    pub fn start(clients: u32) -> Self {
        Self::start_under(&[], "127.0.0.1", clients)
    }

    /// Like [`Self::start`], with a command prefix and the address of the servers.
    ///
    /// # Panics
    /// If they cannot be started.
    #[must_use]
    pub fn start_under(prefix: &[&str], host: &str, clients: u32) -> Self {
        Self::start_with(prefix, &["--host", host], clients)
    }

    fn start_with(prefix: &[&str], arguments: &[&str], clients: u32) -> Self {
        host_lock::acquire();
        let mut words = prefix.iter().chain(&[PYTHON]);
        let mut child = Command::new(words.next().unwrap_or(&PYTHON))
            .args(words)
            .arg(fixture("fleet.py"))
            .args(arguments)
            .args(["--clients", &clients.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("failed to start a fleet of clients");
        let commands = child.stdin.take().expect("stdin is a pipe");
        let rounds = child.stdout.take().expect("stdout is a pipe");
        Self {
            child,
            commands,
            rounds: BufReader::new(rounds),
        }
    }

    /// Like [`Self::start_under`], with an address for each client: the network `sources` (three
    /// bytes of an address) and the client's number.
    ///
    /// # Panics
    /// If they cannot be started.
    #[must_use]
    pub fn start_with_addresses(prefix: &[&str], sources: &str, clients: u32) -> Self {
        Self::start_with(prefix, &["--sources", sources], clients)
    }

    /// Each client connects once to `port` and offers its session, if it has one; `words` are
    /// options of the fixture.
    ///
    /// # Panics
    /// If a connection fails.
    pub fn connect(&mut self, port: u16, words: &str) -> Round {
        let round = self.round(port, words);
        assert_eq!(round.failed, 0, "{round:?}");
        round
    }

    /// Each client connects once to `port`, offers its session, and closes after the server's first
    /// flight; returns the number of clients.
    ///
    /// # Panics
    /// If a handshake completes.
    pub fn hang_up(&mut self, port: u16) -> u32 {
        let round = self.round(port, "hangup");
        assert_eq!(round.connected, 0, "{round:?}");
        round.failed
    }

    fn round(&mut self, port: u16, words: &str) -> Round {
        writeln!(self.commands, "{port} {words}").expect("failed to write to a fleet");
        let mut line = String::new();
        self.rounds
            .read_line(&mut line)
            .expect("failed to read the report of a fleet");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no round: {error}: {line:?}"))
    }

    /// Like [`Self::connect`]; asserts that all connections offer a session and none is resumed.
    ///
    /// # Panics
    /// If a session is resumed or a connection offers none: the test would prove nothing.
    pub fn miss(&mut self, port: u16, words: &str) -> u32 {
        let round = self.connect(port, words);
        assert_eq!(
            (round.offered, round.resumed),
            (round.connected, 0),
            "{round:?}"
        );
        round.offered
    }

    /// Like [`Self::connect`]; asserts that all connections are resumed.
    ///
    /// # Panics
    /// If a connection is not resumed.
    pub fn resume(&mut self, port: u16, words: &str) -> u32 {
        let round = self.connect(port, words);
        assert_eq!(round.resumed, round.connected, "{round:?}");
        round.resumed
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
