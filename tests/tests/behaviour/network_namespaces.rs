//! Network namespaces: equal addresses in two of them are different services, and addresses in a
//! namespace that any user can create belong to no peer.

use std::process::Command;

use reprise_tests::namespaces::Namespaces;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::PYTHON;
use reprise_tests::s_client::s_client;
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Report, Server};

use super::misses::{assert_reason, haproxy_node};

const NO_ARGUMENTS: [&str; 0] = [];
const PEERS: &str = "reprise_peer_handshakes_total";
/// Addresses that the user gives a server and its client.
const SERVER_IP: &str = "10.66.0.1";
const CLIENT_IP: &str = "10.66.0.7";

#[test]
fn one_address_in_two_namespaces_is_two_services() {
    let net = Namespaces::new();
    let port = free_port();
    let prefixes = [&net.client, &net.server].map(|name| Namespaces::exec(name));
    let _nodes = prefixes.each_ref().map(|under| {
        let tuning = Tuning {
            port: Some(port),
            under,
            ..Tuning::default()
        };
        haproxy_node(Sessions::Ids, false, &tuning)
    });
    let agent = Agent::start(NO_ARGUMENTS);
    let directory = tempfile::TempDir::new().expect("failed to create a directory");
    let file = directory.path().join("session").display().to_string();
    let address = format!("127.0.0.1:{port}");
    // What one namespace issues says nothing about the cache of the other.
    for words in &prefixes {
        let client = Client::new(port).under(words).with("--tls", "1.2");
        client.connections(60).run().assert_mixed(60);
    }
    let before = agent.metrics();
    for _ in 0..6 {
        assert!(!s_client(&prefixes[0], &address, &file, false));
        assert!(!s_client(&prefixes[1], &address, &file, true));
    }
    assert_reason(&agent, &before, 6, "foreign_id");
}

/// A user's namespace with two servers that reject each other's sessions, and its client.
struct UsersNetwork {
    servers: [Server; 2],
    enter: Vec<String>,
}

impl UsersNetwork {
    fn new() -> Self {
        let script = format!(
            "ip link set lo up && ip address add {SERVER_IP}/32 dev lo && \
             ip address add {CLIENT_IP}/32 dev lo && exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["-Urn", "sh", "-c", &script, "sh", PYTHON]);
        let first = Server::python_under(Sessions::OldTickets, SERVER_IP, &mut command);
        let pid = first.process.pid().to_string();
        let enter = ["nsenter", "-U", "-n", "--preserve-credentials", "-t", &pid];
        let enter = enter.map(str::to_owned).to_vec();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(PYTHON);
        let second = Server::python_under(Sessions::OldTickets, SERVER_IP, &mut command);
        Self {
            servers: [first, second],
            enter,
        }
    }

    /// Offers the session of one server to the other.
    fn miss(&self) -> Report {
        let words: Vec<_> = self.enter.iter().map(String::as_str).collect();
        let [first, second] = &self.servers;
        let client = Client::new(first.port).once_from(CLIENT_IP).under(&words);
        let client = client.with("--other-port", second.port.to_string());
        let client = client.with("--host", SERVER_IP).with("--connections", "40");
        client.run()
    }
}

#[test]
fn a_users_own_network_forges_no_peer_and_raises_no_alert_for_one() {
    let network = UsersNetwork::new();
    let agent = Agent::start(["--alert-min-offers", "5"]);
    let before = agent.metrics();
    let report = network.miss();
    let total = report.total(|row| row.full + row.resumed);
    assert!(total >= 40, "{report:?}");
    let mut expected = Expected::default();
    for role in ["server", "client"] {
        let labels = [("peer", "other-namespace"), ("role", role)];
        expected.add(PEERS, &labels, total);
    }
    expected
        .add(PEERS, &[], 2 * total)
        .assert_counted(&agent, &before);
    // The sessions are missed, so that an alert would be raised for the address.
    let missed = [("role", "server"), ("peer", "other-namespace")];
    let misses = agent
        .metrics()
        .sum("reprise_peer_cache_misses_total", &missed);
    assert!(misses >= 10.0, "{misses}");
    for path in ["/metrics", "/api/v1/peers", "/api/v1/failures"] {
        let page = agent.get(path).expect("a page");
        assert!(!page.body.contains("10.66.0."), "{path}: {}", page.body);
    }
}

#[test]
fn peers_of_a_users_own_network_are_named_on_request() {
    let network = UsersNetwork::new();
    let agent = Agent::start(["--user-namespace-peers", "--alert-min-offers", "5"]);
    let before = agent.metrics();
    let total = network.miss().total(|row| row.full + row.resumed);
    let mut expected = Expected::default();
    expected
        .add(PEERS, &[("peer", CLIENT_IP), ("role", "server")], total)
        .add(PEERS, &[], 2 * total)
        .assert_counted(&agent, &before);
    poll_until("the alert stands", DEADLINE, || {
        let alert = [("peer", CLIENT_IP), ("role", "server")];
        match agent.metrics().sum("reprise_cache_miss_alert", &alert) {
            1.0 => Ok(()),
            other => Err(format!("{other}")),
        }
    });
}
