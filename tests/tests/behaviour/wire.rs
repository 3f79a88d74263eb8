//! Handshakes of programs without OpenSSL, which only packets show, equal the clients' own reports.

use std::process::{Command, Stdio};

use reprise_tests::certificates::ec;
use reprise_tests::offers::expect_offers;
use reprise_tests::ports::free_port;
use reprise_tests::process::{Process, fixture, run};
use reprise_tests::programs::gnutls;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, http, rustls_pair};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
/// Handshakes of each program with itself, per version.
const CONNECTIONS: u32 = 8;
const HANDSHAKES: &str = "reprise_handshakes_total";
const FAILURES: &str = "reprise_handshake_failures_total";

#[test]
fn gnutls_is_counted_from_packets() {
    let (port, agent) = (free_port(), Agent::start(NO_ARGUMENTS));
    let mut server = Process::spawn(&mut gnutls::server(port, &[]));
    server.wait_listening(port);
    let before = agent.metrics();
    let mut expected = Expected::default();
    for (priority, version, sessions) in [
        ("NORMAL", "1.3", Sessions::Tickets),
        ("NORMAL:-VERS-TLS1.3", "1.2", Sessions::OldTickets),
        ("NORMAL:-VERS-TLS1.3:%NO_TICKETS", "1.2", Sessions::Ids),
    ] {
        // Connects and reconnects with the new session.
        let mut client = Command::new("gnutls-cli");
        client.args(["--insecure", "--resume", "--priority", priority, "--port"]);
        let output = run(client.args([&port.to_string(), "127.0.0.1"]));
        assert!(output.contains("This is a resumed session"), "{output}");
        for role in ["server", "client"] {
            for resumption in ["full", "resumed"] {
                let labels = [
                    ("role", role),
                    ("version", version),
                    ("resumption", resumption),
                ];
                expected.add(HANDSHAKES, &labels, 1);
            }
        }
        expect_offers(&mut expected, sessions, 1, 0, 1);
    }
    expected.add(HANDSHAKES, &[], 12).add(FAILURES, &[], 0);
    expected.assert_counted(&agent, &before);
    // The client rejects the server's certificate with an alert.
    let refused = Command::new("gnutls-cli")
        .args(["--port", &port.to_string(), "127.0.0.1"])
        .stdin(Stdio::null())
        .output()
        .expect("failed to start gnutls-cli");
    assert!(!refused.status.success(), "{refused:?}");
    for (role, cause) in [("server", "alert_received"), ("client", "alert_sent")] {
        expected.add(FAILURES, &[("role", role), ("cause", cause)], 1);
    }
    expected
        .add(FAILURES, &[], 2)
        .assert_counted(&agent, &before);
    let wire = [("library", "wire")];
    let metrics = agent.metrics();
    assert_eq!(metrics.sum("reprise_library_info", &wire), 1.0);
    assert_nothing_lost(&metrics);
}

#[test]
fn rustls_is_counted_from_packets() {
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let mut expected = Expected::default();
    for (version, label, sessions) in [
        (&rustls_pair::TLS13, "1.3", Sessions::Tickets),
        (&rustls_pair::TLS12, "1.2", Sessions::Ids),
    ] {
        let (full, resumed) = rustls_pair::handshakes(version, 12);
        assert_eq!((full, resumed), (1, 11));
        for role in ["server", "client"] {
            for (resumption, count) in [("full", full), ("resumed", resumed)] {
                let labels = [
                    ("role", role),
                    ("version", label),
                    ("resumption", resumption),
                ];
                expected.add(HANDSHAKES, &labels, count);
            }
        }
        expect_offers(&mut expected, sessions, resumed, 0, full);
    }
    expected
        .add(FAILURES, &[], 0)
        .assert_counted(&agent, &before);
}

/// Asserts that the agent's counts equal a program's report on its connections with itself (`FULL
/// RESUMED`). In TLS 1.2 the program offers tickets.
fn both_ends(command: impl Fn(u16, &str) -> Command) {
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let mut expected = Expected::default();
    for (version, sessions) in [("1.2", Sessions::OldTickets), ("1.3", Sessions::Tickets)] {
        let output = run(&mut command(free_port(), version));
        let (full, resumed) = output.trim().split_once(' ').expect("two numbers");
        let [full, resumed]: [u32; 2] = [full, resumed].map(|n| n.parse().expect("a number"));
        assert_eq!((full, resumed), (1, CONNECTIONS - 1), "{output}");
        for role in ["server", "client"] {
            for (resumption, count) in [("full", full), ("resumed", resumed)] {
                let labels = [
                    ("role", role),
                    ("version", version),
                    ("resumption", resumption),
                ];
                expected.add(HANDSHAKES, &labels, count);
            }
        }
        expect_offers(&mut expected, sessions, resumed, 0, full);
    }
    expected
        .add(HANDSHAKES, &[], 4 * CONNECTIONS)
        .add(FAILURES, &[], 0)
        .assert_counted(&agent, &before);
    assert_nothing_lost(&agent.metrics());
}

/// Asserts that a Go program is counted whose TLS begins at once, or with `starttls` later.
fn go(extra: &[&str]) {
    let directory = TempDir::new().expect("failed to create a directory");
    let program = directory.path().join("tls");
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(&program);
    build.env("GOCACHE", directory.path().join("cache"));
    run(build.env("GO111MODULE", "off").arg(fixture("go/tls.go")));
    both_ends(|port, version| {
        let mut command = Command::new(&program);
        command.arg(&ec().cert).arg(&ec().key);
        command.args([&port.to_string(), version, &CONNECTIONS.to_string()]);
        command.args(extra);
        command
    });
}

#[test]
fn go_is_counted_from_packets() {
    go(&[]);
}

#[test]
fn go_after_starttls_is_counted_from_packets() {
    go(&["starttls"]);
}

#[test]
fn java_is_counted_from_packets() {
    let directory = TempDir::new().expect("failed to create a directory");
    let store = directory.path().join("store.p12");
    let mut keytool = Command::new("keytool");
    keytool.args(["-genkeypair", "-alias", "test", "-keyalg", "EC"]);
    keytool.args(["-dname", "CN=localhost", "-storetype", "PKCS12"]);
    run(keytool
        .args(["-storepass", "changeit", "-keystore"])
        .arg(&store));
    both_ends(|port, version| {
        let mut command = Command::new("java");
        command.arg(fixture("java/Tls.java")).arg(&store);
        command.args(["changeit", &port.to_string(), &format!("TLSv{version}")]);
        command.arg(CONNECTIONS.to_string());
        command
    });
}

#[test]
fn other_protocols_are_ignored() {
    let agent = Agent::start(NO_ARGUMENTS);
    let read = || {
        let events = [("sensor", "wire")];
        agent.metrics().sum("reprise_events_total", &events)
    };
    let before = read();
    for _ in 0..50 {
        let page = http::request(agent.address, "GET", "/metrics", "*/*");
        assert!(page.is_ok_and(|page| page.status == 200));
    }
    assert_eq!(read(), before);
}
