//! A fleet of clients, each of which keeps its session from one connection to the next
//! (`fixtures/fleet.py`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use crate::alone;
use crate::process::{PYTHON, fixture};

/// What the clients say of one round of connections.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Round {
    /// Handshakes completed.
    pub connected: u32,
    /// Of those, with a session offered.
    pub offered: u32,
    /// Of those, resumed.
    pub resumed: u32,
    /// Sessions that the clients' library really offered, and that were not resumed.
    pub missed: u32,
    /// Connections that failed.
    pub failed: u32,
    /// The last error.
    pub errors: Vec<String>,
}

/// The clients; they end with this value.
#[derive(Debug)]
pub struct Fleet {
    child: Child,
    commands: ChildStdin,
    rounds: BufReader<ChildStdout>,
}

impl Fleet {
    /// So many clients without sessions.
    ///
    /// # Panics
    /// When they cannot be started.
    #[must_use]
    pub fn of(clients: u32) -> Self {
        Self::under(&[], "127.0.0.1", clients)
    }

    /// The same, started by the command `prefix`, for servers on `host`.
    ///
    /// # Panics
    /// When they cannot be started.
    #[must_use]
    pub fn under(prefix: &[&str], host: &str, clients: u32) -> Self {
        Self::start(prefix, &["--host", host], clients)
    }

    fn start(prefix: &[&str], arguments: &[&str], clients: u32) -> Self {
        alone::on_this_host();
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
        let commands = child.stdin.take().expect("stdin was asked for");
        let rounds = child.stdout.take().expect("stdout was asked for");
        Self {
            child,
            commands,
            rounds: BufReader::new(rounds),
        }
    }

    /// So many clients, each with an address of its own in the network `sources` (three bytes of an
    /// address), started by the command `prefix`.
    ///
    /// # Panics
    /// When they cannot be started.
    #[must_use]
    pub fn at(prefix: &[&str], sources: &str, clients: u32) -> Self {
        Self::start(prefix, &["--sources", sources], clients)
    }

    /// Each client connects once to `port`, and offers what it has; `words` are those of the
    /// fixture.
    ///
    /// # Panics
    /// When a connection fails.
    pub fn connect(&mut self, port: u16, words: &str) -> Round {
        writeln!(self.commands, "{port} {words}").expect("failed to command a fleet");
        let mut line = String::new();
        self.rounds
            .read_line(&mut line)
            .expect("failed to hear of a fleet");
        let round: Round = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no round: {error}: {line:?}"));
        assert_eq!(round.failed, 0, "{round:?}");
        round
    }

    /// As [`Self::connect`], where all that is offered is to be missed.
    ///
    /// # Panics
    /// When something is resumed, or nothing offered: the test would show nothing.
    pub fn miss(&mut self, port: u16, words: &str) -> u32 {
        let round = self.connect(port, words);
        assert_eq!(
            (round.offered, round.resumed),
            (round.connected, 0),
            "{round:?}"
        );
        round.offered
    }

    /// As [`Self::connect`], where all that is offered is to be resumed.
    ///
    /// # Panics
    /// When something is not.
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
