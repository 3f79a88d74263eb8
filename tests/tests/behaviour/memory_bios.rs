//! Failed handshakes of programs that move the bytes themselves (memory BIOs). Their library knows
//! neither the socket nor when it ends; the causes are those of programs with socket BIOs.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::client::{SOURCES, hold_open, misbehave};
use reprise_tests::failure::one_failure_each;
use reprise_tests::poll::DEADLINE;
use reprise_tests::ports::listen;
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

fn servers(timeout_ms: u32) -> [Server; 2] {
    [
        Server::asyncio(Sessions::Tickets, timeout_ms),
        Server::node_with(Sessions::Tickets, Path::new(NODE), timeout_ms),
    ]
}

/// Makes one misbehaving connection per source address to each server, and asserts this cause.
fn servers_fail_with(mode: &str, cause: &str) {
    each_server_fails_with(mode, [cause; 2], 60_000);
}

/// Like [`servers_fail_with`], with a cause for each server.
fn each_server_fails_with(mode: &str, causes: [&str; 2], timeout_ms: u32) {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    for (server, cause) in servers(timeout_ms).into_iter().zip(causes) {
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
    servers_fail_with("reset-half-hello", "reset");
}

#[test]
fn server_whose_client_resets_after_the_servers_flight() {
    servers_fail_with("reset-after-flight", "reset");
}

#[test]
fn server_whose_client_closes_in_the_client_hello() {
    servers_fail_with("close-half-hello", "closed");
}

#[test]
fn server_whose_client_closes_after_the_servers_flight() {
    servers_fail_with("close-after-flight", "closed");
}

#[test]
fn server_whose_client_closes_before_its_client_hello() {
    servers_fail_with("scan", "closed");
}

#[test]
fn server_whose_client_resets_before_its_client_hello() {
    servers_fail_with("scan-reset", "reset");
}

#[test]
fn server_that_shares_no_cipher() {
    // asyncio closes without sending the alert that its library wrote.
    each_server_fails_with("no-shared-cipher", ["local_error", "alert_sent"], 60_000);
}

#[test]
fn server_that_times_out() {
    let timeout_ms = 1_000;
    each_server_fails_with("silent", ["timeout"; 2], timeout_ms);
}

#[test]
fn server_killed_in_its_handshake() {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    for server in servers(60_000) {
        println!("{:?}", server.process);
        warm_up(&agent, &server);
        let before = agent.metrics();
        let _client = hold_open(server.port);
        server.process.signal_group(Signal::SIGKILL);
        let peers = &SOURCES[..1];
        one_failure_each(&agent, &calm, &before, "server", peers, &["abandoned"]);
    }
    agent.assert_healthy();
}

/// Starts each program as a client of the service on this port, ends its handshake with `end`, and
/// asserts this cause. The program waits `timeout_ms` milliseconds.
fn clients_fail_with(cause: &str, timeout_ms: u32, port: u16, mut end: impl FnMut(&Process)) {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    let timeout_ms = timeout_ms.to_string();
    let mut asyncio = Command::new(PYTHON);
    asyncio.arg(fixture("asyncio_tls.py")).arg("client");
    let mut node = Command::new(NODE);
    node.args(["-e", NODE_CLIENT]);
    for (server, mut client) in servers(60_000).into_iter().zip([asyncio, node]) {
        println!("{client:?}");
        // The server and the client use the same library file.
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

/// Like [`clients_fail_with`], with a service that never answers.
fn clients_of_silent_service_fail_with(
    cause: &str,
    timeout_ms: u32,
    end: impl Fn(&Process, TcpStream),
) {
    let service = SilentService::new();
    clients_fail_with(cause, timeout_ms, service.port, |process| {
        end(process, service.accept());
    });
}

#[test]
fn client_whose_server_resets() {
    clients_of_silent_service_fail_with("reset", 60_000, |_, stream| drop(stream));
}

#[test]
fn client_whose_server_closes() {
    clients_of_silent_service_fail_with("closed", 60_000, |_, mut stream| {
        read_first_record(&mut stream);
        drop(stream);
    });
}

#[test]
fn client_whose_server_closes_at_once() {
    let listener = listen();
    let port = listener.local_addr().expect("an address").port();
    clients_fail_with("closed", 60_000, port, |_| {
        let (mut stream, _) = listener.accept().expect("failed to accept");
        stream.shutdown(Shutdown::Write).expect("a connection");
        // Read until the client closes, so that the kernel sends no reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

#[test]
fn client_that_times_out() {
    clients_of_silent_service_fail_with("timeout", 1_000, |process, stream| {
        process.wait_ended();
        drop(stream);
    });
}

#[test]
fn client_killed_in_its_handshake() {
    clients_of_silent_service_fail_with("abandoned", 60_000, |process, stream| {
        process.signal(Signal::SIGKILL);
        process.wait_ended();
        drop(stream);
    });
}
