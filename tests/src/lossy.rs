//! A lossy link with its ground truth: dropped packets according to the dropping rules, outcomes of
//! handshakes according to client and server, compared with the agent's counts per connection.

use std::collections::BTreeMap;
use std::process::Command;

use crate::agent::Agent;
use crate::capture::{Capture, LOG_LOST, LOG_PASSED, Packet, describe};
use crate::failure::{PEER_FAMILY, failures};
use crate::metrics::Metrics;
use crate::namespaces::{CLIENT_NET, Namespaces, SERVER_NET};
use crate::poll::{DEADLINE, poll_until};
use crate::process::{PYTHON, fixture, run};
use crate::servers::{Server, Sessions};

/// Causes in the metrics.
const CAUSES: [&str; 8] = [
    "packet_loss",
    "timeout",
    "reset",
    "closed",
    "alert_received",
    "alert_sent",
    "local_error",
    "abandoned",
];
/// Time that the server waits for more data, seconds: longer than any client.
const SERVER_TIMEOUT: &str = "2";

/// A failed handshake in one role.
#[derive(Debug)]
pub struct Failed {
    /// `client` or `server`.
    pub role: &'static str,
    /// Cause according to the agent.
    pub cause: String,
    /// Whether a packet of its connection was dropped.
    pub lost: bool,
    /// Whether a dropped packet was one that TCP retransmits: SYN, SYN-ACK or data.
    pub lost_data: bool,
    /// Whether its client did not intend to complete it.
    pub unwilling: bool,
    /// Packets of its connection.
    pub packets: Vec<Packet>,
}

/// A lossy link with a server and an agent that observes both ends.
#[derive(Debug)]
pub struct Lossy {
    net: Namespaces,
    rounds: u32,
    server: Server,
    capture: Capture,
    agent: Agent,
}

impl Default for Lossy {
    fn default() -> Self {
        Self::new()
    }
}

impl Lossy {
    /// Sets up namespaces, server, capture and agent.
    ///
    /// # Panics
    /// If the host does not support one of them.
    #[must_use]
    pub fn new() -> Self {
        let net = Namespaces::new();
        net.add_networks();
        let words = Namespaces::exec(&net.server);
        let server = Server::python_with(
            Sessions::Tickets,
            "0.0.0.0",
            Command::new(words[0]).args(&words[1..]).arg(PYTHON),
            &["--report", "--timeout", SERVER_TIMEOUT],
        );
        let capture = Capture::start(&net);
        let agent = Agent::start(["--max-peers", "10000"]);
        Self {
            net,
            rounds: 0,
            server,
            capture,
            agent,
        }
    }

    /// Drops these percentages of the packets to the server and to the client.
    fn set_loss(&self, to_server: u32, to_client: u32) {
        let port = self.server.port;
        for (name, way, percent) in [
            (&self.net.server, "dport", to_server),
            (&self.net.client, "sport", to_client),
        ] {
            let rules = format!(
                "tcp {way} {port} numgen random mod 100 < {percent} {LOG_LOST} drop\n  \
                 tcp {way} {port} {LOG_PASSED}"
            );
            self.net.rules(name, "", &rules);
        }
    }

    /// Returns the outcomes that the server reports, with the client's address.
    fn server_outcomes(&self) -> Vec<(String, String)> {
        let output = self.server.process.stdout();
        let lines = output.lines().filter_map(|line| line.split_once(' '));
        lines
            .map(|(peer, outcome)| (peer.to_owned(), outcome.to_owned()))
            .collect()
    }

    /// Makes connections under this loss and returns the failed handshakes of both roles. Every
    /// handshake that failed according to client or server must be counted with one cause, and
    /// every other one must not be counted as failed.
    ///
    /// # Panics
    /// If the agent counts a failure that did not happen or does not count one that did.
    #[must_use]
    pub fn round(&mut self, (to_server, to_client): (u32, u32), connections: u32) -> Vec<Failed> {
        self.set_loss(to_server, to_client);
        // New addresses: packets that the kernel still sends for earlier rounds must not be counted
        // here.
        self.rounds += 1;
        let (from, to) = (
            format!("{CLIENT_NET}.{}", self.rounds),
            format!("{SERVER_NET}.{}", self.rounds),
        );
        let before = self.agent.metrics();
        let clients = self.clients(&from, &to, connections);
        let mut failed = Vec::new();
        poll_until("the agent and the servers agree", DEADLINE, || {
            failed.clear();
            let after = self.agent.metrics();
            let outcomes = self.server_outcomes();
            let mut wrong = Vec::new();
            for (index, (mode, outcome)) in &clients {
                let remote = format!("{to}.{index}:{}", self.server.port);
                let want = u32::from(outcome == "handshake");
                let causes = causes(&before, &after, &remote, "client");
                if causes.len() != want as usize {
                    wrong.push(format!("client {index}: {outcome}, {causes:?}"));
                }
                let source = format!("{from}.{index}");
                let own = outcomes.iter().filter(|(peer, _)| *peer == source);
                let says: Vec<_> = own.map(|(_, outcome)| outcome.as_str()).collect();
                let count = |what| says.iter().filter(|outcome| **outcome == what).count();
                let ended = count("completed") + count("failed") == count("came");
                // Includes handshakes that never received a packet: since 6.3 the kernel reports
                // which socket did not answer.
                let of_server = self::causes(&before, &after, &source, "server");
                if !ended || of_server.len() != count("failed") {
                    wrong.push(format!("server {index}: {says:?}, {of_server:?}"));
                }
                let unwilling = mode == "leave";
                let causes = causes.into_iter().map(|cause| ("client", cause));
                let of_server = of_server.into_iter().map(|cause| ("server", cause));
                failed.extend(causes.chain(of_server).map(|(role, cause)| {
                    let source = source.clone();
                    (source, role, cause, unwilling)
                }));
            }
            if wrong.is_empty() {
                Ok(())
            } else {
                let listed = failures(&self.agent);
                let prefix = [format!("{from}."), format!("{to}.")];
                let own = listed.iter().filter(|row| {
                    let peer = row["peer"].as_str().unwrap_or_default();
                    peer == "unknown" || prefix.iter().any(|prefix| peer.starts_with(prefix))
                });
                let own: Vec<_> = own.map(ToString::to_string).collect();
                let packets = self.capture.connections();
                let packets = packets.iter().filter(|(source, _)| {
                    let index = source.strip_prefix(&prefix[0]).unwrap_or_default();
                    wrong
                        .iter()
                        .any(|line| line.contains(&format!(" {index}:")))
                });
                let stories: Vec<_> = packets
                    .map(|(source, packets)| format!("{source}: {}", describe(packets)))
                    .collect();
                Err(format!("{wrong:#?}; {stories:#?}; listed: {own:#?}"))
            }
        });
        let connections = self.capture.connections();
        failed
            .into_iter()
            .map(|(source, role, cause, unwilling)| {
                let packets = connections.get(&source).cloned().unwrap_or_default();
                Failed {
                    role,
                    cause,
                    lost: packets.iter().any(|packet| packet.lost),
                    lost_data: packets
                        .iter()
                        .any(|packet| packet.lost && packet.is_retransmitted()),
                    unwilling,
                    packets,
                }
            })
            .collect()
    }

    fn clients(&self, from: &str, to: &str, connections: u32) -> BTreeMap<u32, (String, String)> {
        let words = Namespaces::exec(&self.net.client);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(PYTHON)
            .arg(fixture("lossy.py"));
        command.args(["--source", from, "--to", to]);
        command.args(["--port", &self.server.port.to_string()]);
        command.args(["--connections", &connections.to_string()]);
        let output = run(&mut command);
        serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("no report: {error}: {output:?}"))
    }
}

/// Returns one cause for each failure of a peer since `before`.
fn causes(before: &Metrics, after: &Metrics, peer: &str, role: &str) -> Vec<String> {
    let risen = CAUSES.into_iter().flat_map(|cause| {
        let labels = [("peer", peer), ("role", role), ("cause", cause)];
        let rise = after.sum(PEER_FAMILY, &labels) - before.sum(PEER_FAMILY, &labels);
        std::iter::repeat_n(cause.to_owned(), rise as usize)
    });
    risen.collect()
}
