//! Handshakes that a server rejects or does not get an answer for: cause, the library's error
//! reason and name of the alert.

use std::process::Command;

use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::failure::{FAMILY, PEER_FAMILY, failures, one_failure_each};
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::PYTHON;
use reprise_tests::requirements::{self, Requirement};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const NO_ARGUMENTS: [&str; 0] = [];
type Make = fn(Sessions) -> Server;
const ERRORS: &str = "reprise_handshake_errors_total";

/// Asserts the failure of a client that each server rejects with one of `alerts`. `completes`: the
/// handshake of the client completes before that.
fn refused(requirement: Requirement, sessions: Sessions, alerts: &[&str], completes: bool) {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(sessions);
    for make in requirements::ALL {
        let Some(server) = make(requirement, sessions) else {
            continue;
        };
        agent.wait_libraries(1);
        println!("{requirement:?} of {:?}", server.process);
        let before = agent.metrics();
        let client = Client::new(server.port).once_from(SOURCES[0]);
        let _ = client.with("--name", "elsewhere.example").run();
        let mut expected = Expected::default();
        let (ours, theirs) = (server.peer(), SOURCES[0]);
        let of_client = u32::from(!completes);
        expected
            .add(FAMILY, &[("role", "server"), ("cause", "alert_sent")], 1)
            .add(FAMILY, &[("role", "server")], 1)
            .add(
                FAMILY,
                &[("role", "client"), ("cause", "alert_received")],
                of_client,
            )
            .add(FAMILY, &[("role", "client")], of_client)
            .add(PEER_FAMILY, &[("peer", theirs), ("role", "server")], 1)
            .add(
                PEER_FAMILY,
                &[("peer", &ours), ("role", "client")],
                of_client,
            )
            .add("reprise_handshakes_total", &[], u32::from(completes))
            .add(
                "reprise_handshakes_total",
                &[
                    ("role", "client"),
                    ("version", sessions.version()),
                    ("resumption", "full"),
                ],
                u32::from(completes),
            )
            .add(ERRORS, &[("role", "server")], 1);
        expected.assert_final(&agent, &calm, &before);
        let seen = failures(&agent);
        let of_server = seen
            .iter()
            .find(|row| row["role"] == "server")
            .expect("its failure");
        assert_eq!(of_server["peer"], theirs, "{of_server}");
        assert!(of_server["reason"].is_string(), "{of_server}");
        if !completes {
            let of_client = seen
                .iter()
                .find(|row| row["role"] == "client")
                .expect("its failure");
            let name = of_client["alert"]["name"].as_str().unwrap_or_default();
            assert!(alerts.contains(&name), "{name}: {of_client}");
            assert_eq!(of_client["alert"]["direction"], "received");
        }
    }
    agent.assert_healthy();
}

#[test]
fn a_missing_client_certificate() {
    refused(
        Requirement::Certificate,
        Sessions::Ids,
        &["handshake_failure"],
        false,
    );
}

/// In TLS 1.3 the client completes before the server notices the missing certificate.
#[test]
fn a_missing_client_certificate_of_tls13() {
    refused(Requirement::Certificate, Sessions::Tickets, &[], true);
}

#[test]
fn an_unknown_server_name() {
    let alerts = ["unrecognized_name", "handshake_failure"];
    refused(Requirement::KnownName, Sessions::Tickets, &alerts, false);
}

/// A handshake that the server lets complete is not a failure, even if the server rejects the
/// request later.
#[test]
fn a_requirement_that_lets_the_handshake_complete() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let agent = Agent::start(NO_ARGUMENTS);
        for server in requirements::lenient(sessions) {
            agent.wait_libraries(1);
            println!("{:?}", server.process);
            let before = agent.metrics();
            let client = Client::new(server.port).once_from(SOURCES[0]);
            let report = client.with("--name", "elsewhere.example").run();
            assert_eq!(report.total(|row| row.full), 1, "{report:?}");
            let mut expected = Expected::default();
            expected.add_report(&server, &report).add(FAMILY, &[], 0);
            expected.assert_final(&agent, &server, &before);
        }
        agent.assert_healthy();
    }
}

#[test]
fn half_a_client_hello_then_silence() {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    for make in requirements::ALL {
        let Some(server) = make(Requirement::PromptData, Sessions::Ids) else {
            continue;
        };
        agent.wait_libraries(1);
        println!("{:?}", server.process);
        let before = agent.metrics();
        misbehave("silent", server.port, 2);
        one_failure_each(
            &agent,
            &calm,
            &before,
            "server",
            &SOURCES[..2],
            &["timeout"],
        );
    }
}

/// Connections without data. nginx starts no handshake before the first byte.
#[test]
fn a_port_scan() {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    let makes: [(Make, bool); 5] = [
        (Server::haproxy, true),
        (Server::nginx, false),
        (Server::stunnel, true),
        (Server::python, true),
        (Server::s_server, true),
    ];
    for (make, begins) in makes {
        let server = make(Sessions::Ids);
        agent.wait_libraries(1);
        println!("{:?}", server.process);
        let before = agent.metrics();
        misbehave("scan", server.port, 3);
        let mut expected = Expected::default();
        let count = 3 * u32::from(begins);
        expected
            .add(FAMILY, &[("role", "server"), ("cause", "closed")], count)
            .add(FAMILY, &[], count)
            .add("reprise_handshakes_total", &[], 0);
        expected.assert_final(&agent, &calm, &before);
    }
}

#[test]
fn reasons_have_the_names_of_the_library() {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    let server = Server::python(Sessions::Ids);
    agent.wait_libraries(1);
    let before = agent.metrics();
    for mode in ["plain-http", "no-shared-cipher"] {
        misbehave(mode, server.port, 1);
    }
    let mut expected = Expected::default();
    for reason in ["http_request", "no_shared_cipher"] {
        expected.add(ERRORS, &[("role", "server"), ("reason", reason)], 1);
    }
    expected.add(ERRORS, &[], 2);
    expected.assert_final(&agent, &calm, &before);
}

/// A common fault of services that require certificates: they reject clients that resume a session.
/// The log explains it.
#[test]
fn a_failure_of_resumption_is_explained_in_the_log() {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    let python = &mut Command::new(PYTHON);
    let server = Server::python_with(Sessions::OldTickets, "127.0.0.1", python, &["--no-context"]);
    agent.wait_libraries(1);
    let before = agent.metrics();
    let client = Client::new(server.port).with("--connections", "2");
    let report = client.once_from(SOURCES[0]).run();
    assert_eq!(report.total(|row| row.full), 1, "{report:?}");
    assert_eq!(report.total(|row| row.failed), 1, "{report:?}");
    let mut expected = Expected::default();
    let reason = "session_id_context_uninitialized";
    expected
        .add_report(&server, &report)
        .add(ERRORS, &[("role", "server"), ("reason", reason)], 1)
        .add(ERRORS, &[("role", "server")], 1)
        .add(FAMILY, &[("role", "server"), ("cause", "alert_sent")], 1)
        .add(
            FAMILY,
            &[("role", "client"), ("cause", "alert_received")],
            1,
        );
    expected.assert_final(&agent, &calm, &before);
    poll_until("the log says what to do", DEADLINE, || {
        let log = agent.stderr();
        let line = log
            .lines()
            .find(|line| line.contains("because they try to resume"));
        match line {
            Some(line)
                if line.contains(reason) && line.contains("SSL_CTX_set_session_id_context") =>
            {
                Ok(())
            }
            _ => Err(log),
        }
    });
}
