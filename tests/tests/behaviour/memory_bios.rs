//! Failed handshakes of programs that copy the data themselves (memory BIOs), whose library does
//! not know the socket: they have the same causes as those of other programs.

use std::io::Read as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::failure::one_failure_each;
use reprise_tests::poll::DEADLINE;
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::relay::{SilentService, read_first_record};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::warm_up;
use reprise_tests::{Agent, Server};

const NODE: &str = "/usr/bin/node";
const NO_ARGUMENTS: [&str; 0] = [];

/// A client that abandons its handshake after a number of milliseconds.
const NODE_CLIENT: &str = r"
const [port, patience] = process.argv.slice(1).map(Number);
const options = { host: '127.0.0.1', port, rejectUnauthorized: false };
const socket = require('tls').connect(options);
socket.on('error', (error) => console.log(error.code));
setTimeout(() => socket.destroy(), patience).unref();
";

fn servers() -> [Server; 2] {
    [
        Server::asyncio(Sessions::Tickets),
        Server::node(Sessions::Tickets, Path::new(NODE)),
    ]
}

/// Makes one failing connection per source address to each server.
fn assert_server_failures(mode: &str, cause: &str) {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    for server in servers() {
        println!("{mode} against {:?}", server.process);
        warm_up(&agent, &server);
        let before = agent.metrics();
        misbehave(
            mode,
            server.port,
            u32::try_from(SOURCES.len()).expect("few sources"),
        );
        one_failure_each(&agent, &calm, &before, "server", SOURCES, &[cause]);
    }
    agent.assert_healthy();
}

#[test]
fn server_whose_client_resets_in_the_client_hello() {
    assert_server_failures("reset-half-hello", "reset");
}

#[test]
fn server_whose_client_resets_after_the_servers_flight() {
    assert_server_failures("reset-after-flight", "reset");
}

#[test]
fn server_whose_client_closes_in_the_client_hello() {
    assert_server_failures("close-half-hello", "closed");
}

#[test]
fn server_whose_client_closes_after_the_servers_flight() {
    assert_server_failures("close-after-flight", "closed");
}

/// Starts a handshake of each program with a service on this port, which `end` ends. `timeout_ms`
/// is the program's timeout.
fn assert_client_failures(cause: &str, timeout_ms: u32, port: u16, mut end: impl FnMut(&Process)) {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    let timeout_ms = timeout_ms.to_string();
    let mut asyncio = Command::new(PYTHON);
    asyncio.arg(fixture("asyncio_tls.py")).arg("client");
    let mut node = Command::new(NODE);
    node.args(["-e", NODE_CLIENT]);
    for (server, mut client) in servers().into_iter().zip([asyncio, node]) {
        println!("{client:?}");
        // The program uses the client's library.
        warm_up(&agent, &server);
        let before = agent.metrics();
        client.args([&port.to_string(), &timeout_ms]);
        let mut process = Process::spawn(&mut client);
        end(&process);
        let _ = process.wait(DEADLINE);
        println!("{}", process.stdout());
        let peer = format!("127.0.0.1:{port}");
        one_failure_each(&agent, &calm, &before, "client", &[&peer], &[cause]);
    }
    agent.assert_healthy();
}

/// Like [`assert_client_failures`], with a service that never answers.
fn assert_client_failures_with_silent_service(
    cause: &str,
    timeout_ms: u32,
    end: impl Fn(&Process, TcpStream),
) {
    let silent = SilentService::new();
    assert_client_failures(cause, timeout_ms, silent.port, |process| {
        end(process, silent.accept());
    });
}

#[test]
fn client_whose_server_resets() {
    assert_client_failures_with_silent_service("reset", 60_000, |_, stream| drop(stream));
}

#[test]
fn client_whose_server_closes() {
    assert_client_failures_with_silent_service("closed", 60_000, |_, mut stream| {
        read_first_record(&mut stream);
        drop(stream);
    });
}

#[test]
fn client_whose_server_closes_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("failed to bind any port");
    let port = listener.local_addr().expect("an address").port();
    assert_client_failures("closed", 60_000, port, |_| {
        let (mut stream, _) = listener.accept().expect("failed to accept");
        stream.shutdown(Shutdown::Write).expect("a connection");
        // Waits until the client closes, so that no close becomes a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

#[test]
fn client_that_times_out() {
    assert_client_failures_with_silent_service("timeout", 1_000, |process, stream| {
        process.wait_ended();
        drop(stream);
    });
}

#[test]
fn client_killed_in_its_handshake() {
    assert_client_failures_with_silent_service("abandoned", 60_000, |process, stream| {
        process.signal(Signal::SIGKILL);
        process.wait_ended();
        drop(stream);
    });
}
