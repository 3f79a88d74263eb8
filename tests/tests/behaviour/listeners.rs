//! The process behind a service that only its packets show: its workload, and restarts.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use reprise_tests::Agent;
use reprise_tests::certificates::ec;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::{PYTHON, Process, run};
use reprise_tests::programs::gnutls;
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
const MISSES: &str = "reprise_cache_misses_total";
const SERVICES: &str = "reprise_service_handshakes_total";
/// Opens and closes a listening socket in a loop: ADDRESS PORT.
const CHURN: &str = "
import socket, sys
while True:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((sys.argv[1], int(sys.argv[2])))
    listener.listen()
    listener.close()
";

/// `gnutls-serv` with TLS 1.2, at all addresses of both families.
fn gnutls(port: u16) -> Command {
    let tls12 = ["--disable-client-cert", "--priority", "NORMAL:-VERS-TLS1.3"];
    gnutls::server(port, &tls12)
}

/// `rustls_server` with TLS 1.2 and tickets, at one address.
fn rustls(port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rustls_server"));
    command.arg(&ec().cert).arg(&ec().key);
    command.args([&port.to_string(), "1.2", "tickets"]);
    command
}

/// A client with one session, in a file.
struct Client {
    port: u16,
    directory: TempDir,
}

impl Client {
    fn new(port: u16) -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        Self { port, directory }
    }

    /// Connects; offers the session of the last connection, if `offer`. Returns whether it was
    /// resumed.
    fn connect(&self, name: &str, offer: bool) -> bool {
        let session = self.directory.path().join("session");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_2", "-servername", name, "-connect"]);
        command.arg(format!("127.0.0.1:{}", self.port));
        command.arg("-sess_out").arg(&session);
        if offer {
            command.arg("-sess_in").arg(&session);
        }
        let output = run(command.stdin(Stdio::null()));
        assert!(output.contains("TLSv1.2, Cipher is"), "{output}");
        output.contains("Reused, TLSv1.2")
    }
}

fn start(command: &mut Command, port: u16) -> Process {
    let mut server = Process::spawn(command);
    server.wait_listening(port);
    server
}

/// Waits until a handshake of the server is counted for this workload.
fn wait_workload(agent: &Agent, port: u16, workload: &str) {
    let port = port.to_string();
    let labels = [("port", port.as_str()), ("workload", workload)];
    poll_until("the workload is known", DEADLINE, || {
        let metrics = agent.metrics();
        match metrics.sum(SERVICES, &labels) {
            0.0 => Err(metrics.show(SERVICES)),
            _ => Ok(()),
        }
    });
}

/// Waits for the server's only miss, and asserts its reason.
fn expect_miss(agent: &Agent, reason: &str) {
    poll_until("the miss is counted", DEADLINE, || {
        let metrics = agent.metrics();
        match metrics.sum(MISSES, &[("role", "server")]) {
            0.0 => Err(metrics.show(MISSES)),
            _ => Ok(()),
        }
    });
    let metrics = agent.metrics();
    let labels = [("role", "server"), ("reason", reason)];
    let shown = metrics.show(MISSES);
    assert_eq!(metrics.sum(MISSES, &labels), 1.0, "{reason}: {shown}");
    assert_eq!(metrics.sum(MISSES, &[("role", "server")]), 1.0, "{shown}");
}

/// The server listens before the agent starts, and is replaced while it runs.
fn assert_restart(command: fn(u16) -> Command, workload: &str, churn: Option<Ipv4Addr>) {
    let port = free_port();
    let server = start(&mut command(port), port);
    let agent = Agent::start(NO_ARGUMENTS);
    let _churn = churn.map(|address| {
        let mut command = Command::new(PYTHON);
        command.args(["-c", CHURN, &address.to_string(), &port.to_string()]);
        Process::spawn(&mut command)
    });
    let client = Client::new(port);
    assert!(!client.connect("localhost", false));
    wait_workload(&agent, port, workload);
    assert!(client.connect("localhost", true));
    drop(server);
    let _server = start(&mut command(port), port);
    assert!(!client.connect("localhost", true));
    expect_miss(&agent, "restarted");
    agent.assert_healthy();
}

#[test]
fn a_restart_of_gnutls_is_recognized() {
    assert_restart(gnutls, "gnutls-serv", None);
}

/// Another program opens and closes sockets on the same port of another address meanwhile.
#[test]
fn a_restart_of_rustls_is_recognized_beside_a_program_that_opens_sockets_in_a_loop() {
    let other = Ipv4Addr::new(127, 0, 0, 2);
    assert_restart(rustls, "rustls_server", Some(other));
}

/// rustls resumes no session for another server name.
#[test]
fn a_ticket_that_its_own_process_refuses_is_no_restart() {
    let port = free_port();
    let _server = start(&mut rustls(port), port);
    let agent = Agent::start(NO_ARGUMENTS);
    let client = Client::new(port);
    assert!(!client.connect("localhost", false));
    wait_workload(&agent, port, "rustls_server");
    // Two tickets that begin alike show that the service's tickets begin with a key name.
    assert!(!client.connect("localhost", false));
    assert!(!client.connect("elsewhere.example", true));
    expect_miss(&agent, "refused");
}
