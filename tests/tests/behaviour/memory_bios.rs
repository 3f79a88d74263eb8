//! Failed handshakes of programs that move the bytes themselves (memory BIOs), whose library knows
//! neither the socket nor its end: they have the causes of programs whose library does.

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

/// One misbehaving connection per source address against each server.
fn servers_blame(mode: &str, cause: &str) {
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
    servers_blame("reset-half-hello", "reset");
}

#[test]
fn server_whose_client_resets_after_the_servers_flight() {
    servers_blame("reset-after-flight", "reset");
}

#[test]
fn server_whose_client_closes_in_the_client_hello() {
    servers_blame("close-half-hello", "closed");
}

#[test]
fn server_whose_client_closes_after_the_servers_flight() {
    servers_blame("close-after-flight", "closed");
}

/// Each program in the middle of its handshake with a service on this port, which `end` ends.
/// `patience_ms` is how long the program waits.
fn clients_blame(cause: &str, patience_ms: u32, port: u16, mut end: impl FnMut(&Process)) {
    let agent = Agent::start(NO_ARGUMENTS);
    let calm = Server::python(Sessions::Ids);
    let patience_ms = patience_ms.to_string();
    let mut asyncio = Command::new(PYTHON);
    asyncio.arg(fixture("asyncio_tls.py")).arg("client");
    let mut node = Command::new(NODE);
    node.args(["-e", NODE_CLIENT]);
    for (server, mut client) in servers().into_iter().zip([asyncio, node]) {
        println!("{client:?}");
        // Its library is the client's.
        warm_up(&agent, &server);
        let before = agent.metrics();
        client.args([&port.to_string(), &patience_ms]);
        let mut process = Process::spawn(&mut client);
        end(&process);
        let _ = process.wait(DEADLINE);
        println!("{}", process.stdout());
        let peer = format!("127.0.0.1:{port}");
        one_failure_each(&agent, &calm, &before, "client", &[&peer], &[cause]);
    }
    agent.assert_healthy();
}

/// The same with a service that never answers.
fn clients_of_mute_blame(cause: &str, patience_ms: u32, end: impl Fn(&Process, TcpStream)) {
    let mute = SilentService::new();
    clients_blame(cause, patience_ms, mute.port, |process| {
        end(process, mute.accept());
    });
}

#[test]
fn client_whose_server_resets() {
    clients_of_mute_blame("reset", 60_000, |_, stream| drop(stream));
}

#[test]
fn client_whose_server_closes() {
    clients_of_mute_blame("closed", 60_000, |_, mut stream| {
        read_first_record(&mut stream);
        drop(stream);
    });
}

#[test]
fn client_whose_server_closes_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("failed to bind any port");
    let port = listener.local_addr().expect("an address").port();
    clients_blame("closed", 60_000, port, |_| {
        let (mut stream, _) = listener.accept().expect("failed to accept");
        stream.shutdown(Shutdown::Write).expect("a connection");
        // Until the client closes, so that nothing turns into a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

#[test]
fn client_that_loses_patience() {
    clients_of_mute_blame("timeout", 1_000, |process, stream| {
        process.wait_ended();
        drop(stream);
    });
}

#[test]
fn client_killed_in_its_handshake() {
    clients_of_mute_blame("abandoned", 60_000, |process, stream| {
        process.signal(Signal::SIGKILL);
        process.wait_ended();
        drop(stream);
    });
}
