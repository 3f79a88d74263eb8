//! Clients that repeat the random of their ClientHello, without entropy or on purpose: each of
//! their connections is counted once, in each role.

use std::process::Command;

use reprise_tests::ports::free_port;
use reprise_tests::process::{Process, fixture, run};
use reprise_tests::programs::gnutls;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, Server};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
const CONNECTIONS: u32 = 10;

/// Builds the client.
fn client(directory: &TempDir) -> impl Fn(u16, &str, &str) {
    let program = directory.path().join("repeat");
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(&program);
    build.env("GOCACHE", directory.path().join("cache"));
    run(build.env("GO111MODULE", "off").arg(fixture("go/repeat.go")));
    move |port, version, mode| {
        let mut command = Command::new(&program);
        let (port, count) = (port.to_string(), CONNECTIONS.to_string());
        run(command.args([&port, version, &count, mode]));
    }
}

/// Adds the handshakes of one run, at both ends.
fn add(expected: &mut Expected, version: &str) {
    for role in ["server", "client"] {
        let labels = [("role", role), ("version", version), ("resumption", "full")];
        expected.add("reprise_handshakes_total", &labels, CONNECTIONS);
    }
}

#[test]
fn each_connection_is_counted_once() {
    let directory = TempDir::new().expect("failed to create a directory");
    let connect = client(&directory);
    let openssl = Server::python(Sessions::OldTickets);
    let openssl13 = Server::python(Sessions::Tickets);
    let port = free_port();
    let mut gnutls = Process::spawn(&mut gnutls::server(port, &[]));
    gnutls.wait_listening(port);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let mut expected = Expected::default();
    expected.add("reprise_handshake_failures_total", &[], 0);
    // A server that its library reports, and one that only packets show; the client is of the
    // latter kind.
    for (port, version) in [
        (openssl.port, "1.2"),
        (openssl13.port, "1.3"),
        (port, "1.2"),
        (port, "1.3"),
    ] {
        for mode in ["in turn", "together"] {
            connect(port, version, mode);
            add(&mut expected, version);
        }
    }
    expected
        .add("reprise_handshakes_total", &[], 4 * 2 * 2 * CONNECTIONS)
        .assert_counted(&agent, &before);
    assert_nothing_lost(&agent.metrics());
}
