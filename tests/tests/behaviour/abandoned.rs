//! Handshakes that programs abandon in different ways: kernel timeout, memory BIOs, a cleared
//! object.

use std::net::TcpStream;
use std::process::Command;

use reprise_tests::client::Row;
use reprise_tests::failure::{FAMILY, PEER_FAMILY};
use reprise_tests::poll::DEADLINE;
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::relay::SilentService;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Report, Server};

const NO_ARGUMENTS: [&str; 0] = [];

/// Runs `fixtures/direct.py` against a service that never answers; returns the service's port and
/// its end of the connection.
fn direct(mode: &str, other: u16) -> (u16, TcpStream) {
    let silent = SilentService::new();
    let mut command = Command::new(PYTHON);
    command.arg(fixture("direct.py")).arg(mode);
    command.args([silent.port.to_string(), other.to_string()]);
    let mut process = Process::spawn(&mut command);
    let stream = silent.accept();
    let (status, _) = process.wait(DEADLINE);
    assert!(status.success(), "{}", process.stderr());
    (silent.port, stream)
}

/// Asserts one failed client handshake with the silent service, with this cause, and one completed
/// handshake with the other server if `completes`.
fn assert_abandoned(mode: &str, cause: &'static str, completes: bool) {
    let server = Server::python(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let before = agent.metrics();
    let (port, stream) = direct(mode, server.port);
    let mut expected = Expected::default();
    let peer = format!("127.0.0.1:{port}");
    expected
        .add(FAMILY, &[("role", "client"), ("cause", cause)], 1)
        .add(FAMILY, &[("role", "client")], 1)
        .add(PEER_FAMILY, &[("peer", &peer), ("role", "client")], 1)
        .add("reprise_handshakes_total", &[], 0);
    if completes {
        let row = Row {
            full: 1,
            ..Row::default()
        };
        let rows = [("127.0.0.1".to_owned(), row)].into();
        expected.add_report(&server, &Report { rows });
    }
    expected.assert_final(&agent, &server, &before);
    drop(stream);
    agent.assert_healthy();
}

#[test]
fn the_read_times_out_in_the_kernel() {
    assert_abandoned("kernel", "timeout", false);
}

/// The client received nothing; the wire sensor identifies the server.
#[test]
fn memory_bios() {
    assert_abandoned("memory", "timeout", false);
}

#[test]
fn an_object_that_is_cleared_and_reused() {
    assert_abandoned("clear", "abandoned", true);
}
