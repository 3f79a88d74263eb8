//! Handshakes that do not complete: exactly one failure each with the right cause, and no handshake
//! counted.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::certificates::rsa;
use reprise_tests::client::{SOURCES, hold_open, hold_silent, hold_unread, misbehave};
use reprise_tests::failure::{FAMILY, PEER_FAMILY, one_failure_each};
use reprise_tests::poll::DEADLINE;
use reprise_tests::process::{PYTHON, Process};
use reprise_tests::relay::{SilentService, read_first_record};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const NO_ARGUMENTS: [&str; 0] = [];

/// Makes one failing connection per source address to each server.
fn assert_server_failures(mode: &str, causes: &[&str], makes: &[fn(Sessions) -> Server]) {
    let agent = Agent::start(NO_ARGUMENTS);
    for make in makes {
        let server = make(Sessions::Ids);
        agent.wait_libraries(1);
        println!("{mode} against {:?}", server.process);
        let before = agent.metrics();
        misbehave(
            mode,
            server.port,
            u32::try_from(SOURCES.len()).expect("few sources"),
        );
        one_failure_each(&agent, &server, &before, "server", SOURCES, causes);
    }
    agent.assert_healthy();
}

const ALL: &[fn(Sessions) -> Server] = &[
    Server::haproxy,
    Server::nginx,
    Server::stunnel,
    Server::python,
    Server::s_server,
];

#[test]
fn reset_in_the_client_hello() {
    assert_server_failures("reset-half-hello", &["reset"], ALL);
}

#[test]
fn reset_after_the_servers_flight() {
    assert_server_failures("reset-after-flight", &["reset"], ALL);
}

#[test]
fn closed_in_the_client_hello() {
    assert_server_failures("close-half-hello", &["closed"], ALL);
}

#[test]
fn closed_after_the_servers_flight() {
    assert_server_failures("close-after-flight", &["closed"], ALL);
}

#[test]
fn plain_http_on_the_tls_port() {
    // nginx reads the first byte itself and starts no handshake; see the next test.
    assert_server_failures(
        "plain-http",
        &["local_error"],
        &[
            Server::haproxy,
            Server::stunnel,
            Server::python,
            Server::s_server,
        ],
    );
}

#[test]
fn plain_http_that_nginx_answers() {
    let server = Server::nginx(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let before = agent.metrics();
    misbehave("plain-http", server.port, 3);
    let mut expected = Expected::default();
    expected
        .add(FAMILY, &[], 0)
        .add("reprise_handshakes_total", &[], 0);
    expected.assert_final(&agent, &Server::python(Sessions::Ids), &before);
}

#[test]
fn no_shared_cipher() {
    // The server detects the error and sends an alert.
    assert_server_failures("no-shared-cipher", &["alert_sent"], ALL);
}

/// Sends half a ClientHello, then nothing until the server's timeout.
#[test]
fn servers_that_time_out() {
    let agent = Agent::start(NO_ARGUMENTS);
    for make in [
        || Server::haproxy_with(Sessions::Ids, "  timeout client 1s"),
        || Server::nginx_with(Sessions::Ids, "client_header_timeout 1s;"),
        || Server::stunnel_with(Sessions::Ids, "TIMEOUTbusy = 1"),
        || {
            let python = &mut Command::new(PYTHON);
            Server::python_with(Sessions::Ids, "127.0.0.1", python, &["--timeout", "1"])
        },
    ] {
        let server = make();
        agent.wait_libraries(1);
        println!("{:?}", server.process);
        let before = agent.metrics();
        misbehave("silent", server.port, 2);
        let peers = &SOURCES[..2];
        one_failure_each(&agent, &server, &before, "server", peers, &["timeout"]);
    }
    agent.assert_healthy();
}

/// `s_server` has no timeout: its handshake ends with the silent client.
#[test]
fn a_server_without_a_timeout() {
    let server = Server::s_server(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let before = agent.metrics();
    let client = hold_silent(server.port);
    let after = agent.metrics();
    assert_eq!(after.sum(FAMILY, &[]), before.sum(FAMILY, &[]));
    client.signal(Signal::SIGKILL);
    let calm = Server::python(Sessions::Ids);
    let peers = &SOURCES[..1];
    one_failure_each(&agent, &calm, &before, "server", peers, &["closed"]);
    agent.assert_healthy();
}

#[test]
fn a_client_that_rejects_the_certificate() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        for make in ALL {
            let server = make(sessions);
            agent.wait_libraries(1);
            let before = agent.metrics();
            // The client trusts only another self-signed certificate.
            let report = Client::new(server.port)
                .once_from(SOURCES[0])
                .with("--ca", &rsa().cert)
                .run();
            assert_eq!(report.total(|row| row.failed), 1, "{report:?}");
            let mut expected = Expected::default();
            let service = server.peer();
            expected
                .add(FAMILY, &[], 2)
                .add("reprise_handshakes_total", &[], 0);
            expected.add(
                PEER_FAMILY,
                &[
                    ("peer", SOURCES[0]),
                    ("role", "server"),
                    ("cause", "alert_received"),
                ],
                1,
            );
            expected.add(PEER_FAMILY, &[("peer", &service), ("role", "client")], 1);
            expected.add(
                FAMILY,
                &[("role", "server"), ("cause", "alert_received")],
                1,
            );
            expected.assert_final(&agent, &server, &before);
            let after = agent.metrics();
            let labels = [
                ("peer", service.as_str()),
                ("role", "client"),
                ("cause", "alert_sent"),
            ];
            let page = after.show("failures_total");
            assert_eq!(after.sum(PEER_FAMILY, &labels), 1.0, "{page}");
        }
    }
}

#[test]
fn a_server_killed_in_mid_handshake() {
    let calm = Server::python(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    for make in ALL {
        let doomed = make(Sessions::Ids);
        agent.wait_libraries(1);
        println!("{:?}", doomed.process);
        let before = agent.metrics();
        let _client = hold_open(doomed.port);
        doomed.process.signal_group(Signal::SIGKILL);
        let peers = &SOURCES[..1];
        one_failure_each(&agent, &calm, &before, "server", peers, &["abandoned"]);
    }
    agent.assert_healthy();
}

#[test]
fn a_servers_client_killed_in_mid_handshake() {
    let calm = Server::python(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    for make in ALL {
        let server = make(Sessions::Ids);
        agent.wait_libraries(1);
        println!("{:?}", server.process);
        let before = agent.metrics();
        hold_unread(server.port).signal(Signal::SIGKILL);
        let peers = &SOURCES[..1];
        one_failure_each(&agent, &calm, &before, "server", peers, &["reset"]);
    }
    agent.assert_healthy();
}

/// Starts a client handshake with a service that never answers; `end` ends it.
fn client_ends(causes: &[&str], options: &[(&str, &str)], end: impl FnOnce(&Process, TcpStream)) {
    let server = Server::python(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    let silent = SilentService::new();
    let before = agent.metrics();
    let client = options
        .iter()
        .fold(Client::new(silent.port), |client, (option, value)| {
            client.with(option, *value)
        });
    let mut process = client.spawn();
    let stream = silent.accept();
    end(&process, stream);
    let _ = process.wait(DEADLINE);
    let peer = format!("127.0.0.1:{}", silent.port);
    one_failure_each(&agent, &server, &before, "client", &[&peer], causes);
    agent.assert_healthy();
}

#[test]
fn a_client_killed_in_mid_handshake() {
    client_ends(&["abandoned"], &[], |process, stream| {
        process.signal(Signal::SIGKILL);
        // The stream is dropped after the client, or else the service would close first.
        process.wait_ended();
        drop(stream);
    });
}

#[test]
fn a_client_whose_server_resets() {
    // The ClientHello is unread, so the kernel turns this close into a reset (RFC 2525, section
    // 2.17).
    client_ends(&["reset"], &[], |_, stream| drop(stream));
}

#[test]
fn a_client_whose_server_closes() {
    client_ends(&["closed"], &[], |_, mut stream| {
        read_first_record(&mut stream);
        drop(stream);
    });
}

#[test]
fn a_client_that_times_out() {
    client_ends(&["timeout"], &[("--timeout", "1")], |process, stream| {
        process.wait_ended();
        drop(stream);
    });
}

#[test]
fn a_client_answered_in_another_protocol() {
    client_ends(&["local_error"], &[], |_, mut stream| {
        read_first_record(&mut stream);
        stream
            .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            .expect("failed to write to the client");
        drop(stream);
    });
}
