//! TLS that begins later than the connection: offers and their outcomes equal the client's report.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use reprise_tests::certificates::ec;
use reprise_tests::offers::{expect_offers, expect_report};
use reprise_tests::ports::free_port;
use reprise_tests::process::{PYTHON, Process, fixture, run};
use reprise_tests::programs::Counts;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, Client, Server};
use serde_json::Value;
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
const HANDSHAKES: &str = "reprise_handshakes_total";
const FAILURES: &str = "reprise_handshake_failures_total";
const UNKNOWN: &str = "reprise_resumption_offer_unknown_total";

/// Runs `fixtures/preamble.py`, server and client, and returns the client's report.
fn talk(kind: &str, tls: &str, extra: &[&str]) -> Counts {
    let port = free_port().to_string();
    let command = |side| {
        let mut command = Command::new(PYTHON);
        command.arg(fixture("preamble.py")).args([side, kind]);
        command.args(["--port", &port, "--tls", tls]);
        command
    };
    let mut server = command("server");
    server.arg("--cert").arg(&ec().cert);
    let mut server = Process::spawn(server.arg("--key").arg(&ec().key));
    server.wait_listening(port.parse().expect("a port"));
    let output = run(command("client").args(extra));
    serde_json::from_str(&output).expect("failed to parse the client's report")
}

/// Asserts that the offers of these dialogues are read; `together` are those whose last words may
/// leave in one segment with the ClientHello.
fn offers_are_read(kinds: &[&str], together: &[&str]) {
    let _libssl = Server::python(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let mut expected = Expected::default();
    let apart = kinds.iter().map(|kind| (kind, &[][..]));
    let together = together.iter().map(|kind| (kind, &["--together"][..]));
    for (kind, extra) in apart.chain(together) {
        for (tls, sessions) in [("1.2", Sessions::OldTickets), ("1.3", Sessions::Tickets)] {
            let report = talk(kind, tls, extra);
            assert_eq!((report.full, report.resumed), (1, 3), "{kind} {tls}");
            for (resumption, count) in [("full", 1), ("resumed", 3)] {
                let labels = [("version", tls), ("resumption", resumption)];
                expected.add(HANDSHAKES, &labels, 2 * count);
            }
            expect_offers(&mut expected, sessions, 3, 0, 1);
        }
    }
    expected.add(FAILURES, &[], 0).add(UNKNOWN, &[], 0);
    expected.assert_counted(&agent, &before);
    assert_nothing_lost(&agent.metrics());
}

#[test]
fn protocols_with_starttls() {
    let kinds = ["smtp", "imap", "pop3", "ftp", "ldap", "xmpp", "postgres"];
    offers_are_read(&kinds, &[]);
}

#[test]
fn requests_before_tls() {
    offers_are_read(&["mysql", "connect"], &["mysql"]);
}

#[test]
fn headers_of_the_proxy_protocol() {
    let kinds = [
        "proxy-v1",
        "proxy-v1-unknown",
        "proxy-v1-in-pieces",
        "proxy-v2",
        "proxy-v2-local",
        "proxy-v2-extensions",
        "proxy-v2-in-pieces",
    ];
    offers_are_read(&kinds, &kinds);
}

#[test]
fn a_connection_that_talks_for_long_is_left() {
    let _libssl = Server::python(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let report = talk("chat", "1.3", &[]);
    assert_eq!((report.full, report.resumed), (1, 3));
    let mut expected = Expected::default();
    for (resumption, count) in [("full", 1), ("resumed", 3)] {
        expected.add(HANDSHAKES, &[("resumption", resumption)], 2 * count);
    }
    expected.add(UNKNOWN, &[], 8).add(FAILURES, &[], 0);
    expected.assert_counted(&agent, &before);
}

/// Runs HAProxy, which sends a header of the PROXY protocol (`option`) to nginx and relays TLS, and
/// asserts that the offers of its clients are read. The clients are peers if HAProxy is `trusted`.
fn behind_haproxy(option: &str, trusted: bool) {
    let (front, back) = (free_port(), free_port());
    let listen = format!("listen 127.0.0.1:{back} ssl proxy_protocol;");
    let _nginx = Server::nginx_with(Sessions::Tickets, &listen);
    let directory = TempDir::new().expect("failed to create a directory");
    let file = directory.path().join("haproxy.cfg");
    let config = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout server 20s\n  timeout client 20s\n\
         listen relay\n  bind 127.0.0.1:{front}\n  server nginx 127.0.0.1:{back} {option}\n"
    );
    fs::write(&file, config).expect("failed to write a configuration");
    let mut haproxy = Process::spawn(Command::new("haproxy").arg("-db").arg("-f").arg(&file));
    haproxy.wait_listening(front);
    let network = if trusted {
        "127.0.0.1/32"
    } else {
        "192.0.2.0/24"
    };
    let agent = Agent::start(["--proxy-protocol-from", network]);
    let before = agent.metrics();
    let report = Client::new(front).connections(30).run();
    report.assert_mixed(30);
    let (full, resumed) = (
        report.total(|row| row.full),
        report.total(|row| row.resumed),
    );
    let mut expected = Expected::default();
    for role in ["server", "client"] {
        for (resumption, count) in [("full", full), ("resumed", resumed)] {
            let labels = [("role", role), ("resumption", resumption)];
            expected.add(HANDSHAKES, &labels, count);
        }
    }
    for (source, row) in &report.rows {
        let peer = if trusted { source } else { "127.0.0.1" };
        for (resumption, count) in [("full", row.full), ("resumed", row.resumed)] {
            let labels = [
                ("peer", peer),
                ("role", "server"),
                ("resumption", resumption),
            ];
            expected.add("reprise_peer_handshakes_total", &labels, count);
        }
    }
    expect_report(&mut expected, Sessions::Tickets, &report);
    expected.add(FAILURES, &[], 0).add(UNKNOWN, &[], 0);
    expected.assert_counted(&agent, &before);
    let page = agent.get("/api/v1/peers").expect("the peers");
    let page: Value = serde_json::from_str(&page.body).expect("JSON");
    let rows = page.as_array().expect("peers").iter();
    let vias: BTreeSet<_> = rows
        .filter(|row| row["role"] == "server")
        .map(|row| row["via"].as_str())
        .collect();
    assert_eq!(vias, BTreeSet::from([trusted.then_some("127.0.0.1")]));
}

#[test]
fn haproxy_with_the_proxy_protocol() {
    behind_haproxy("send-proxy", true);
    behind_haproxy("send-proxy-v2", true);
    behind_haproxy("send-proxy-v2 proxy-v2-options unique-id,crc32c", true);
}

#[test]
fn haproxy_that_is_not_trusted() {
    behind_haproxy("send-proxy-v2", false);
}
