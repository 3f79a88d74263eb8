//! Full and resumed handshakes per role and peer equal the clients' own reports.

use std::process::Command;

use reprise_tests::client::{Row, SOURCES};
use reprise_tests::process::run;
use reprise_tests::relay::relay_in_pieces;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, observe};
use reprise_tests::{Agent, Client, Report, Server};

const NO_ARGUMENTS: [&str; 0] = [];

/// Observes a server that was used before the agent started, then one that starts later.
fn running_then_new(make: fn(Sessions) -> Server, running: Sessions, new: Sessions) {
    let server = make(running);
    Client::new(server.port)
        .connections(30)
        .run()
        .assert_mixed(30);
    let agent = Agent::start(NO_ARGUMENTS);
    assert_counts_match(&agent, &server);
    drop(server);
    assert_counts_match(&agent, &make(new));
}

fn assert_counts_match(agent: &Agent, server: &Server) {
    observe(
        agent,
        server,
        &Client::new(server.port).connections(210),
        200,
    );
    for mode in ["threads", "processes"] {
        observe(
            agent,
            server,
            &Client::new(server.port).connections(30).workers(8, mode),
            240,
        );
    }
    agent.assert_healthy();
}

#[test]
fn haproxy_session_ids() {
    running_then_new(Server::haproxy, Sessions::Ids, Sessions::Ids);
}

#[test]
fn haproxy_tickets() {
    running_then_new(Server::haproxy, Sessions::Tickets, Sessions::Tickets);
}

#[test]
fn nginx_session_ids() {
    running_then_new(Server::nginx, Sessions::Ids, Sessions::Ids);
}

#[test]
fn nginx_tickets() {
    running_then_new(Server::nginx, Sessions::Tickets, Sessions::Tickets);
}

#[test]
fn stunnel() {
    running_then_new(Server::stunnel, Sessions::Tickets, Sessions::Ids);
}

#[test]
fn apache() {
    running_then_new(Server::apache, Sessions::Ids, Sessions::Tickets);
}

#[test]
fn python_server() {
    running_then_new(Server::python, Sessions::Ids, Sessions::Tickets);
}

#[test]
fn openssl_s_server() {
    // It serves one connection at a time, so there are no concurrent clients.
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::s_server(sessions);
        agent.wait_libraries(1);
        observe(
            &agent,
            &server,
            &Client::new(server.port).connections(210),
            200,
        );
    }
}

#[test]
fn two_servers_are_counted_separately() {
    let (one, two) = (
        Server::haproxy(Sessions::Ids),
        Server::nginx(Sessions::Tickets),
    );
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let report = Client::new(one.port).connections(60).run();
    report.assert_mixed(60);
    let other = Client::new(two.port)
        .connections(90)
        .with("--fresh-every", "4")
        .run();
    other.assert_mixed(90);
    let mut expected = Expected::default();
    expected.add_report(&one, &report).add_report(&two, &other);
    expected.assert_final(&agent, &one, &before);
}

#[test]
fn want_read_is_no_failure() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        for make in [Server::haproxy, Server::nginx] {
            let server = make(sessions);
            agent.wait_libraries(1);
            let before = agent.metrics();
            let relay = relay_in_pieces(server.port);
            let report = Client::new(relay).with("--connections", "25").run();
            let (full, resumed) = (
                report.total(|row| row.full),
                report.total(|row| row.resumed),
            );
            assert!(
                full >= 5 && resumed >= 20 && full + resumed == 25,
                "{report:?}"
            );
            let mut expected = Expected::default();
            expected.add("reprise_handshake_failures_total", &[], 0);
            let service = format!("127.0.0.1:{relay}");
            for (role, peer) in [("server", "127.0.0.1"), ("client", &service)] {
                for (resumption, count) in [("full", full), ("resumed", resumed)] {
                    let labels = [("peer", peer), ("role", role), ("resumption", resumption)];
                    expected.add("reprise_peer_handshakes_total", &labels, count);
                    let labels = [
                        ("role", role),
                        ("version", sessions.version()),
                        ("resumption", resumption),
                    ];
                    expected.add("reprise_handshakes_total", &labels, count);
                }
            }
            expected.add("reprise_handshakes_total", &[], 50);
            expected.assert_final(&agent, &server, &before);
        }
    }
}

#[test]
fn curl() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::nginx(sessions);
        agent.wait_libraries(1);
        let before = agent.metrics();
        let url = format!("https://localhost:{}/", server.port);
        let resolve = format!("localhost:{}:127.0.0.1", server.port);
        for source in SOURCES {
            // A new process has no session: its first connection is full, the others are resumed.
            let mut command = Command::new("curl");
            command.args([
                "-sk",
                "-H",
                "Connection: close",
                "--resolve",
                &resolve,
                "--interface",
                source,
            ]);
            run(command
                .args(["-o", "/dev/null"].repeat(40))
                .args(vec![url.as_str(); 40]));
        }
        let report = nginx_says(&server);
        report.assert_mixed(200);
        let mut expected = Expected::default();
        expected
            .add_report(&server, &report)
            .add("reprise_handshake_failures_total", &[], 0);
        expected.assert_final(&agent, &server, &before);
    }
}

/// Returns the contents of nginx's access log as a report.
fn nginx_says(server: &Server) -> Report {
    let mut report = Report::default();
    for line in server.access_log() {
        let mut words = line.split(' ');
        let (source, mark) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let row: &mut Row = report.rows.entry(source.to_owned()).or_default();
        match mark {
            "r" => row.resumed += 1,
            "." => row.full += 1,
            other => panic!("nginx logged {other:?} in {line:?}"),
        }
    }
    report
}
