//! Sessions lost by packet loss: the server removes a session because loss ended its connection,
//! and the client then offers it without success. Counted per peer, in the server's role.

use std::process::Command;

use reprise_tests::fleet::Fleet;
use reprise_tests::namespaces::{CLIENT_IP, Namespaces, SERVER_IP};
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::PYTHON;
use reprise_tests::servers::{Server, Sessions, Tuning};
use reprise_tests::{Agent, Client};

const NO_ARGUMENTS: [&str; 0] = [];
const CLIENTS: u32 = 12;

/// Waits until `wanted` accepts the lost sessions in the client's row of `/api/v1/peers`.
fn expect_row(agent: &Agent, wanted: impl Fn(&serde_json::Value) -> bool) {
    poll_until("the peer's row", DEADLINE, || {
        let body = agent.get("/api/v1/peers")?.body;
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let is_client =
            |row: &&serde_json::Value| row["peer"] == CLIENT_IP && row["role"] == "server";
        let row = rows.iter().find(is_client).ok_or("no such peer")?;
        if wanted(&row["sessions_lost"]) {
            Ok(())
        } else {
            Err(row.to_string())
        }
    });
}

/// Waits until the client's row has these numbers of sessions removed after loss and of those
/// missed afterwards, and until `removed` sessions were removed in total.
fn expect_lost(agent: &Agent, forgotten: u32, missed: u32, removed: u32) {
    expect_row(agent, |lost| {
        lost["forgotten"] == forgotten && lost["missed"] == missed && lost["never_stored"] == 0
    });
    poll_until("all removed sessions are counted", DEADLINE, || {
        let all = agent.metrics().sum("reprise_sessions_removed_total", &[]);
        if all == f64::from(removed) {
            Ok(())
        } else {
            Err(all.to_string())
        }
    });
}

/// The server's flight never arrives, so that the client gets no session.
#[test]
fn a_session_is_never_stored() {
    let net = Namespaces::new();
    let words = Namespaces::exec(&net.server);
    let server = Server::python_under(
        Sessions::Tickets,
        SERVER_IP,
        Command::new(words[0]).args(&words[1..]).arg(PYTHON),
    );
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let client = |timeout| {
        let client = Client::new(server.port).with("--host", SERVER_IP);
        let client = client.with("--timeout", timeout);
        client.under(&Namespaces::exec(&net.client)).run()
    };
    assert_eq!(client("2").total(|row| row.full), 1);
    expect_row(&agent, |lost| lost["never_stored"] == 0);
    let rule = format!("tcp sport {} ip length > 60 counter drop", server.port);
    net.rule(&net.client, &rule);
    assert_eq!(client("2").total(|row| row.failed), 1);
    assert!(net.dropped(&net.client) >= 2, "nothing was retransmitted");
    expect_row(&agent, |lost| {
        lost["never_stored"] == 1 && lost["forgotten"] == 0 && lost["missed"] == 0
    });
    agent.assert_healthy();
}

#[test]
fn a_session_that_loss_removed_is_missed() {
    let net = Namespaces::new();
    let under = Namespaces::exec(&net.server);
    let tuning = Tuning {
        host: SERVER_IP,
        under: &under,
        ..Tuning::default()
    };
    let server = Server::haproxy_tuned(Sessions::Ids, &tuning);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let mut fleet = Fleet::start_under(&Namespaces::exec(&net.client), SERVER_IP, CLIENTS);
    // Without loss the server removes the sessions because of the resets alone.
    fleet.connect(server.port, "reset");
    expect_lost(&agent, 0, 0, CLIENTS);
    fleet.miss(server.port, "");
    expect_lost(&agent, 0, 0, CLIENTS);
    // The first application data of each connection, after 32 bytes of TCP header, is lost once.
    let (sets, seen) = (
        "set seen { type ipv4_addr . inet_service; flags dynamic; size 1024; }",
        "ip daddr . tcp dport",
    );
    let rule = format!(
        "tcp sport {} @th,256,8 0x17 {seen} != @seen add @seen {{ {seen} }} counter drop",
        server.port
    );
    net.rules(&net.client, sets, &rule);
    fleet.resume(server.port, "reset");
    assert_eq!(net.dropped(&net.client), CLIENTS);
    net.rules(&net.client, "", "");
    expect_lost(&agent, CLIENTS, 0, 2 * CLIENTS);
    fleet.miss(server.port, "");
    expect_lost(&agent, CLIENTS, CLIENTS, 2 * CLIENTS);
    agent.assert_healthy();
}
