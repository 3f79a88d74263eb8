//! Test bed of the loss tests: an observed connection between two network namespaces.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::process::Command;

use crate::agent::Agent;
use crate::client::{Client, Report};
use crate::metrics::Metrics;
use crate::namespaces::{Namespaces, SERVER_IP};
use crate::poll::{DEADLINE, poll_until};
use crate::process::PYTHON;
use crate::servers::{Server, Sessions};
use crate::truth::assert_nothing_lost;

const NO_ARGUMENTS: [&str; 0] = [];
/// Handshakes per test; a lost SYN delays each by a second.
pub const CONNECTIONS: u32 = 3;
/// Counter of retransmissions during connection set-up or handshake.
pub const RETRANSMITS: &str = "reprise_handshake_retransmits_total";
/// Counter of handshakes with at least one retransmission.
pub const WITH_LOSS: &str = "reprise_handshakes_with_loss_total";

/// A Python server and a client in a network namespace each, and an agent outside of both.
#[derive(Debug)]
pub struct Testbed {
    /// The two network namespaces.
    pub net: Namespaces,
    /// The server, in one of them.
    pub server: Server,
    /// The agent, outside of both.
    pub agent: Agent,
    before: Metrics,
}

impl Testbed {
    /// Sets up namespaces, server and agent.
    #[must_use]
    pub fn new() -> Self {
        Self::with_agent(NO_ARGUMENTS)
    }

    /// Sets up namespaces, server and an agent with these arguments.
    #[must_use]
    pub fn with_agent<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let net = Namespaces::new();
        let words = Namespaces::exec(&net.server);
        let mut command = Command::new(words[0]);
        let server = Server::python_under(
            Sessions::Tickets,
            SERVER_IP,
            command.args(&words[1..]).arg(PYTHON),
        );
        let agent = Agent::start(arguments);
        let before = agent.metrics();
        Self {
            net,
            server,
            agent,
            before,
        }
    }

    /// Drops packets from the client that match; `ct original packets 3` matches the third packet
    /// of a connection.
    pub fn drop_from_client(&self, what: &str) {
        let rule = format!("tcp dport {} {what} counter drop", self.server.port);
        self.net.rule(&self.net.server, &rule);
    }

    /// Drops packets from the server that match.
    pub fn drop_from_server(&self, what: &str) {
        let rule = format!("tcp sport {} {what} counter drop", self.server.port);
        self.net.rule(&self.net.client, &rule);
    }

    /// Segments that the server's kernel has retransmitted, by its own count.
    #[must_use]
    pub fn resent_by_server(&self) -> u32 {
        self.net.retransmitted(&self.net.server)
    }

    /// SYN-ACKs that the server's kernel has retransmitted, by its own count.
    #[must_use]
    pub fn synacks_resent(&self) -> u32 {
        self.net.syns_retransmitted(&self.net.server)
    }

    /// Segments that the client's kernel has retransmitted, by its own count.
    #[must_use]
    pub fn resent_by_client(&self) -> u32 {
        self.net.retransmitted(&self.net.client)
    }

    /// SYNs that the client's kernel has retransmitted, by its own count.
    #[must_use]
    pub fn syns_resent(&self) -> u32 {
        self.net.syns_retransmitted(&self.net.client)
    }

    /// Runs the client with these options.
    #[must_use]
    pub fn client(&self, options: &[(&str, String)]) -> Report {
        let client = Client::new(self.server.port).with("--host", SERVER_IP);
        let client = options
            .iter()
            .fold(client, |client, (option, value)| client.with(option, value));
        client.under(&Namespaces::exec(&self.net.client)).run()
    }

    /// Makes [`CONNECTIONS`] handshakes, all of which must complete.
    ///
    /// # Panics
    /// If one does not complete.
    pub fn complete(&self) -> Report {
        let report = self.client(&[("--connections", CONNECTIONS.to_string())]);
        assert_eq!(
            report.total(|row| row.full + row.resumed),
            CONNECTIONS,
            "{report:?}"
        );
        report
    }

    /// Returns the rise of all samples in `family` with `labels`.
    #[must_use]
    pub fn rise(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.agent.metrics().sum(family, labels) - self.before.sum(family, labels)
    }

    /// Waits until the rise is `want`.
    ///
    /// # Panics
    /// If it has another value at the deadline.
    pub fn expect(&self, family: &str, labels: &[(&str, &str)], want: u32) {
        self.expect_within(family, labels, want..=want);
    }

    /// Waits until the rise is in `wanted`. Counters of loss may be lower by the number of events
    /// that the kernel skipped.
    ///
    /// # Panics
    /// If it has another value at the deadline.
    pub fn expect_within(
        &self,
        family: &str,
        labels: &[(&str, &str)],
        wanted: RangeInclusive<u32>,
    ) {
        poll_until("the agent counts the loss", DEADLINE, || {
            let skipped_events = if [RETRANSMITS, WITH_LOSS].contains(&family) {
                self.agent.skipped_events()
            } else {
                0
            };
            let least = wanted.start().saturating_sub(skipped_events);
            let range = f64::from(least)..=f64::from(*wanted.end());
            let have = self.rise(family, labels);
            let page = self.agent.metrics().show("");
            if range.contains(&have) {
                Ok(())
            } else {
                Err(format!(
                    "{family} {labels:?}: +{have}, not {wanted:?}{page}"
                ))
            }
        });
    }

    /// Waits until this number of retransmissions is counted for role, phase and direction.
    ///
    /// # Panics
    /// If it has another value at the deadline.
    pub fn expect_again(&self, [role, phase, direction]: [&str; 3], want: u32) {
        let labels = [("role", role), ("phase", phase), ("direction", direction)];
        self.expect(RETRANSMITS, &labels, want);
    }

    /// Asserts that the rule in `namespace` has dropped this number of packets.
    ///
    /// # Panics
    /// If it has dropped another number.
    pub fn expect_dropped(&self, namespace: &str, packets: u32) {
        assert_eq!(
            self.net.dropped(namespace),
            packets,
            "packets dropped by the rule"
        );
    }

    /// Asserts that the handshakes of both roles are counted as completed, `with_loss` of them in
    /// the given role with retransmissions.
    ///
    /// # Panics
    /// If the counters differ.
    pub fn expect_completed(&self, role: &str, with_loss: u32) {
        for role in ["server", "client"] {
            self.expect("reprise_handshakes_total", &[("role", role)], CONNECTIONS);
        }
        self.expect(
            WITH_LOSS,
            &[("role", role), ("outcome", "completed")],
            with_loss,
        );
        self.expect(WITH_LOSS, &[("outcome", "failed")], 0);
        self.expect("reprise_handshake_failures_total", &[], 0);
        assert_nothing_lost(&self.agent.metrics());
    }
}

impl Default for Testbed {
    fn default() -> Self {
        Self::new()
    }
}
