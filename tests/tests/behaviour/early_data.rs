//! Early data and external pre-shared keys of TLS 1.3: outcomes equal what `s_client` reports.

use std::fs;
use std::process::{Command, Stdio};

use reprise_tests::certificates::ec;
use reprise_tests::ports::free_port;
use reprise_tests::process::{Process, run};
use reprise_tests::programs::gnutls;
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, Server, servers::Sessions};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
const HANDSHAKES: &str = "reprise_handshakes_total";
const FAILURES: &str = "reprise_handshake_failures_total";
const EARLY_DATA: &str = "reprise_early_data_total";
const OFFERS: &str = "reprise_resumption_offers_total";
const EXTERNAL: &str = "reprise_external_psk_total";
const ROLES: [&str; 2] = ["server", "client"];

/// Starts `s_server`, whose input stays open.
fn s_server(port: u16, arguments: &[&str]) -> Process {
    let mut command = Command::new("openssl");
    command.args([
        "s_server",
        "-quiet",
        "-tls1_3",
        "-accept",
        &port.to_string(),
    ]);
    command.args(arguments).stdin(Stdio::piped());
    let mut server = Process::spawn(&mut command);
    server.wait_listening(port);
    server
}

/// Runs `s_client` for as long as a ticket takes to arrive; returns its report.
fn s_client(port: u16, arguments: &str) -> String {
    // Its status is that of the connection's end, which does not matter here.
    let script =
        format!("sleep 0.4 | openssl s_client -connect 127.0.0.1:{port} {arguments} 2>&1; true");
    run(Command::new("sh").args(["-c", &script]))
}

/// Makes three connections of which the last two send early data, and asserts what is counted.
fn early_data_is_counted(port: u16) {
    let directory = TempDir::new().expect("failed to create a directory");
    let (session, data) = (directory.path().join("s"), directory.path().join("data"));
    fs::write(&data, "early\n").expect("failed to write data");
    let (session, data) = (session.display(), data.display());
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let first = s_client(port, &format!("-sess_out {session}"));
    assert!(first.contains("New, TLSv1.3"), "{first}");
    for _ in 0..2 {
        let early = format!("-sess_in {session} -sess_out {session} -early_data {data}");
        let report = s_client(port, &early);
        assert!(report.contains("Early data was accepted"), "{report}");
    }
    let mut expected = Expected::default();
    for role in ROLES {
        for (outcome, count) in [("accepted", 2), ("rejected", 0)] {
            expected.add(EARLY_DATA, &[("role", role), ("outcome", outcome)], count);
        }
        for (resumption, count) in [("full", 1), ("resumed", 2)] {
            let labels = [("role", role), ("resumption", resumption)];
            expected.add(HANDSHAKES, &labels, count);
        }
        expected.add(OFFERS, &[("role", role), ("outcome", "accepted")], 2);
    }
    expected.add(FAILURES, &[], 0);
    expected.assert_counted(&agent, &before);
    assert_nothing_lost(&agent.metrics());
}

#[test]
fn early_data_of_openssl() {
    let port = free_port();
    let (cert, key) = (ec().cert.display(), ec().key.display());
    let (cert, key) = (cert.to_string(), key.to_string());
    let _server = s_server(port, &["-early_data", "-cert", &cert, "-key", &key]);
    early_data_is_counted(port);
}

#[test]
fn early_data_of_a_server_without_openssl() {
    let port = free_port();
    let mut server = Process::spawn(&mut gnutls::server(port, &["--earlydata"]));
    server.wait_listening(port);
    let _libssl = Server::python(Sessions::Tickets);
    early_data_is_counted(port);
}

#[test]
fn an_external_psk_is_no_offered_session() {
    let port = free_port();
    let _server = s_server(port, &["-nocert", "-psk", "00112233"]);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    for _ in 0..3 {
        let report = s_client(port, "-tls1_3 -psk 00112233");
        assert!(report.contains("Reused, TLSv1.3"), "{report}");
    }
    let unknown = "-tls1_3 -psk 00112233 -psk_identity an-identity-as-long-as-a-key-name";
    let report = s_client(port, unknown);
    assert!(report.contains("New, (NONE)"), "{report}");
    let mut expected = Expected::default();
    for role in ROLES {
        let labels = [("role", role), ("resumption", "external_psk")];
        expected.add(HANDSHAKES, &labels, 3);
        for (outcome, count) in [("accepted", 3), ("missed", 0), ("failed", 1)] {
            expected.add(EXTERNAL, &[("role", role), ("outcome", outcome)], count);
        }
    }
    expected.add(HANDSHAKES, &[], 6).add(FAILURES, &[], 2);
    expected.add(OFFERS, &[], 0);
    expected.add("reprise_ticket_key_offers_total", &[], 0);
    expected.assert_counted(&agent, &before);
}
