//! Handshakes that do not complete: exactly one failure each with the right cause, and no handshake
//! counted.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::certificates::rsa;
use reprise_tests::client::{SOURCES, hold_open, hold_silent, hold_unread, misbehave};
use reprise_tests::failure::{FAMILY, PEER_FAMILY, one_failure_each};
use reprise_tests::poll::PATIENCE;
use reprise_tests::process::{PYTHON, Process};
use reprise_tests::relay::{Mute, swallow};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const NO_ARGUMENTS: [&str; 0] = [];

/// Makes one failing connection per source address to each server.
fn servers_blame(mode: &str, causes: &[&str], makes: &[fn(Sessions) -> Server]) {
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
    agent.assert_sound();
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
    servers_blame("reset-half-hello", &["reset"], ALL);
}

#[test]
fn reset_after_the_servers_flight() {
    servers_blame("reset-after-flight", &["reset"], ALL);
}

#[test]
fn closed_in_the_client_hello() {
    servers_blame("close-half-hello", &["closed"], ALL);
}

#[test]
fn closed_after_the_servers_flight() {
    servers_blame("close-after-flight", &["closed"], ALL);
}

#[test]
fn plain_http_on_the_tls_port() {
    // nginx reads the first byte itself and starts no handshake; see the next test.
    servers_blame(
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
fn plain_http_that_nginx_answers_in_plain() {
    let server = Server::nginx(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let before = agent.metrics();
    misbehave("plain-http", server.port, 3);
    let mut expected = Expected::default();
    expected
        .add(FAMILY, &[], 0)
        .add("reprise_handshakes_total", &[], 0);
    expected.settle(&agent, &Server::python(Sessions::Ids), &before);
}

#[test]
fn no_shared_cipher() {
    // The server detects the error and sends an alert.
    servers_blame("no-shared-cipher", &["alert_sent"], ALL);
}

/// Sends half a ClientHello, then nothing until the server's timeout.
#[test]
fn servers_that_lose_patience() {
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
    agent.assert_sound();
}

/// `s_server` has no timeout: its handshake ends with the silent client.
#[test]
fn a_server_of_endless_patience() {
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
    agent.assert_sound();
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
            expected.settle(&agent, &server, &before);
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
        doomed.process.signal_all(Signal::SIGKILL);
        let peers = &SOURCES[..1];
        one_failure_each(&agent, &calm, &before, "server", peers, &["abandoned"]);
    }
    agent.assert_sound();
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
    agent.assert_sound();
}

/// Starts a client handshake with a service that never answers; `end` ends it.
fn client_ends(causes: &[&str], options: &[(&str, &str)], end: impl FnOnce(&Process, TcpStream)) {
    let server = Server::python(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    let mute = Mute::new();
    let before = agent.metrics();
    let client = options
        .iter()
        .fold(Client::new(mute.port), |client, (option, value)| {
            client.with(option, *value)
        });
    let mut process = client.spawn();
    let stream = mute.accept();
    end(&process, stream);
    let _ = process.wait(PATIENCE);
    let peer = format!("127.0.0.1:{}", mute.port);
    one_failure_each(&agent, &server, &before, "client", &[&peer], causes);
    agent.assert_sound();
}

#[test]
fn a_client_killed_in_mid_handshake() {
    client_ends(&["abandoned"], &[], |process, stream| {
        process.signal(Signal::SIGKILL);
        // The stream is dropped after the client, or else the service would close first.
        process.wait_dead();
        drop(stream);
    });
}

#[test]
fn a_client_that_is_reset() {
    // The ClientHello is unread, so the kernel turns this close into a reset (RFC 2525, section
    // 2.17).
    client_ends(&["reset"], &[], |_, stream| drop(stream));
}

#[test]
fn a_client_that_is_closed_on() {
    client_ends(&["closed"], &[], |_, mut stream| {
        swallow(&mut stream);
        drop(stream);
    });
}

#[test]
fn a_client_that_loses_patience() {
    client_ends(&["timeout"], &[("--timeout", "1")], |process, stream| {
        process.wait_dead();
        drop(stream);
    });
}

#[test]
fn a_client_that_is_answered_in_another_protocol() {
    client_ends(&["local_error"], &[], |_, mut stream| {
        swallow(&mut stream);
        stream
            .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            .expect("failed to write to the client");
        drop(stream);
    });
}
