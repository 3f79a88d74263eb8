//! Lifetimes of connections, by how they ended.

use std::process::Command;
use std::thread;
use std::time::Duration;

use reprise_tests::fleet::Fleet;
use reprise_tests::namespaces::{Namespaces, SERVER_IP};
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, Process};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::{Agent, Server};

use crate::misses::{CLIENTS, SERVER};

const NO_ARGUMENTS: [&str; 0] = [];
const COUNT: &str = "reprise_connection_lifetime_seconds_count";
const SUM: &str = "reprise_connection_lifetime_seconds_sum";

/// Waits until the server's connections with this end have risen by at least `count`.
fn expect(agent: &Agent, end: &str, before: f64, count: u32) {
    poll_until("the agent counts the ends", DEADLINE, || {
        let metrics = agent.metrics();
        let have = metrics.sum(COUNT, &[SERVER, ("end", end)]) - before;
        match have >= f64::from(count) {
            true => Ok(()),
            false => Err(format!("+{have}: {}", metrics.show("lifetime"))),
        }
    });
}

/// Connects once, so that the agent knows the port, and waits until it observes the ends of its
/// connections.
fn begin(agent: &Agent, fleet: &mut Fleet, port: u16) {
    poll_until("an end is counted", DEADLINE, || {
        fleet.connect(port, "each=40");
        match agent.metrics().sum(COUNT, &[]) > 0.0 {
            true => Ok(()),
            false => Err(agent.stderr()),
        }
    });
}

/// The number of ended connections with these labels, once it has not risen for a second.
fn settled(agent: &Agent, labels: &[(&str, &str)]) -> f64 {
    let mut last = -1.0;
    poll_until("no further end is counted", DEADLINE, || {
        let count = agent.metrics().sum(COUNT, labels);
        if count == last {
            return Ok(count);
        }
        last = count;
        thread::sleep(Duration::from_secs(1));
        Err(format!("{count}"))
    })
}

#[test]
fn closed_and_reset_connections_are_distinguished() {
    let server = Server::haproxy(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    begin(&agent, &mut fleet, server.port);
    for (words, end) in [("", "closed"), ("reset", "reset_received")] {
        let before = agent.metrics().sum(COUNT, &[SERVER, ("end", end)]);
        fleet.connect(server.port, words);
        expect(&agent, end, before, CLIENTS);
    }
    let metrics = agent.metrics();
    let timed_out = metrics.sum(COUNT, &[("end", "timed_out")]);
    assert_eq!(timed_out, 0.0, "{}", metrics.show("lifetime"));
    // The clients dropped their ends with a reset.
    let client = [("role", "client"), ("end", "reset_sent")];
    assert!(metrics.sum(COUNT, &client) >= f64::from(CLIENTS));
}

/// Clients that vanish are found by the server's keep-alive probes.
#[test]
fn a_vanished_client_times_out() {
    let pair = Namespaces::new();
    for parameter in [
        "net.ipv4.tcp_keepalive_time=1",
        "net.ipv4.tcp_keepalive_intvl=1",
        "net.ipv4.tcp_keepalive_probes=2",
    ] {
        pair.set(&pair.server, parameter);
    }
    let under = Namespaces::exec(&pair.server);
    let server = Server::haproxy_tuned(
        Sessions::Tickets,
        &Tuning {
            host: SERVER_IP,
            defaults: "  option clitcpka",
            under: &under,
            ..Tuning::default()
        },
    );
    let agent = Agent::start(NO_ARGUMENTS);
    let prefix = Namespaces::exec(&pair.client);
    let mut fleet = Fleet::start_under(&prefix, SERVER_IP, CLIENTS);
    begin(&agent, &mut fleet, server.port);
    // The client connects, prints a line, and keeps the connection open.
    let code = format!(
        "import socket, ssl, time\n\
         context = ssl._create_unverified_context()\n\
         raw = socket.create_connection(('{SERVER_IP}', {}))\n\
         conn = context.wrap_socket(raw)\n\
         conn.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n\
         conn.recv(65536)\n\
         print('open', flush=True)\n\
         time.sleep(600)\n",
        server.port
    );
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args([PYTHON, "-c", &code]);
    let client = Process::spawn(&mut command);
    client.wait_stdout("open\n");
    let labels = [SERVER, ("end", "closed")];
    let before = settled(&agent, &labels);
    // The link goes down for good.
    pair.rule(&pair.server, "counter drop");
    expect(&agent, "timed_out", 0.0, 1);
    let lifetime = agent.metrics().sum(SUM, &[("end", "timed_out")]);
    assert!((1.0..30.0).contains(&lifetime), "{lifetime} s");
    assert_eq!(agent.metrics().sum(COUNT, &labels), before);
}
