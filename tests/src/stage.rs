//! The stage of the loss tests: an observed connection between two namespaces.

use std::ops::RangeInclusive;
use std::process::Command;

use crate::agent::Agent;
use crate::client::{Client, Report};
use crate::metrics::Metrics;
use crate::namespaces::{Namespaces, SERVER_IP};
use crate::poll::{PATIENCE, poll_until};
use crate::process::PYTHON;
use crate::servers::{Server, Sessions};
use crate::truth::assert_nothing_lost;

const NO_ARGUMENTS: [&str; 0] = [];
/// Handshakes per test: a lost SYN costs a second each.
pub const CONNECTIONS: u32 = 3;
/// Retransmissions in connection set-up or handshake.
pub const RETRANSMITS: &str = "reprise_handshake_retransmits_total";
/// Handshakes that met at least one.
pub const WITH_LOSS: &str = "reprise_handshakes_with_loss_total";

/// A Python server and client, one namespace each, under the eyes of an agent that runs outside of
/// both.
#[derive(Debug)]
pub struct Stage {
    /// The two namespaces.
    pub net: Namespaces,
    /// The server in the one.
    pub server: Server,
    /// The observer outside of both.
    pub agent: Agent,
    before: Metrics,
}

impl Stage {
    /// Sets it all up.
    #[must_use]
    pub fn new() -> Self {
        let net = Namespaces::new();
        let words = Namespaces::exec(&net.server);
        let mut command = Command::new(words[0]);
        let server = Server::python_under(
            Sessions::Tickets,
            SERVER_IP,
            command.args(&words[1..]).arg(PYTHON),
        );
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        Self {
            net,
            server,
            agent,
            before,
        }
    }

    /// Drops what comes from the client and matches; `ct original packets 3` is the third of its
    /// connection.
    pub fn drop_from_client(&self, what: &str) {
        let rule = format!("tcp dport {} {what} counter drop", self.server.port);
        self.net.rule(&self.net.server, &rule);
    }

    /// Drops what comes from the server and matches.
    pub fn drop_from_server(&self, what: &str) {
        let rule = format!("tcp sport {} {what} counter drop", self.server.port);
        self.net.rule(&self.net.client, &rule);
    }

    /// Segments that the server's kernel has sent again, by its own count.
    #[must_use]
    pub fn resent_by_server(&self) -> u32 {
        self.net.retransmitted(self.server.process.pid())
    }

    /// Segments that the client's kernel has sent again, by its own count.
    #[must_use]
    pub fn resent_by_client(&self) -> u32 {
        self.net.retransmitted_in(&self.net.client)
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

    /// [`CONNECTIONS`] handshakes that all complete, after loss.
    ///
    /// # Panics
    /// When one does not.
    pub fn complete(&self) -> Report {
        let report = self.client(&[("--connections", CONNECTIONS.to_string())]);
        assert_eq!(
            report.total(|row| row.full + row.resumed),
            CONNECTIONS,
            "{report:?}"
        );
        report
    }

    /// By how much everything in `family` that carries `labels` has risen.
    #[must_use]
    pub fn rise(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.agent.metrics().sum(family, labels) - self.before.sum(family, labels)
    }

    /// Waits for that rise to be `want`.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn expect(&self, family: &str, labels: &[(&str, &str)], want: u32) {
        self.expect_within(family, labels, want..=want);
    }

    /// Waits for that rise to be one of `wanted`; of loss, less by what the kernel says that it
    /// passed over.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn expect_within(
        &self,
        family: &str,
        labels: &[(&str, &str)],
        wanted: RangeInclusive<u32>,
    ) {
        poll_until("the agent counts the loss", PATIENCE, || {
            let passed_over = if [RETRANSMITS, WITH_LOSS].contains(&family) {
                self.agent.passed_over()
            } else {
                0
            };
            let least = wanted.start().saturating_sub(passed_over);
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

    /// Waits until so many retransmissions are counted for that role, phase and direction.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn expect_again(&self, [role, phase, direction]: [&str; 3], want: u32) {
        let labels = [("role", role), ("phase", phase), ("direction", direction)];
        self.expect(RETRANSMITS, &labels, want);
    }

    /// Holds the rule in `namespace` to what it should have dropped by now.
    ///
    /// # Panics
    /// When it dropped more or less.
    pub fn expect_dropped(&self, namespace: &str, packets: u32) {
        assert_eq!(self.net.dropped(namespace), packets, "the rule missed");
    }

    /// That both roles' handshakes are counted as completed, `with_loss` of the given role.
    ///
    /// # Panics
    /// When that is not so.
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

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}
