//! The ground truth itself, without an agent: each server and client makes the mix that the other
//! tests rely on.
//!
//! When one of these fails, the failures of the other files say nothing about the agent.

use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::relay::trickle;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Metrics, Report, Server};

/// Whatever offers a session is resumed: the client's pattern alone decides the mix.
fn resumes_by_the_pattern(server: &Server) -> Report {
    let report = Client::new(server.port)
        .connections(60)
        .with("--fresh-every", "7")
        .run();
    report.assert_mixed(60);
    // Connection i offers nothing when i % 7 == 0 or when its source is new: i < 6.
    let fresh = (0..60).filter(|i| i % 7 == 0 || *i < SOURCES.len()).count();
    let full = report.total(|row| row.full);
    assert_eq!(usize::try_from(full), Ok(fresh), "{report:?}");
    report
}

#[test]
fn every_server_resumes_what_is_offered() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        for make in [
            Server::haproxy,
            Server::nginx,
            Server::stunnel,
            Server::python,
            Server::s_server,
        ] {
            let server = make(sessions);
            println!("{sessions:?} {:?}", server.process);
            resumes_by_the_pattern(&server);
        }
    }
}

#[test]
fn nginx_agrees_with_the_client() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::nginx(sessions);
        let report = resumes_by_the_pattern(&server);
        for (source, row) in &report.rows {
            let count = |mark: &str| {
                let line = format!("{source} {mark} TLSv{}", sessions.version());
                server
                    .access_log()
                    .iter()
                    .filter(|have| **have == line)
                    .count()
            };
            assert_eq!(
                (count("."), count("r")),
                (row.full as usize, row.resumed as usize),
                "{source}: {row:?}"
            );
        }
    }
}

#[test]
fn concurrent_clients_report_every_connection() {
    let server = Server::haproxy(Sessions::Tickets);
    for mode in ["threads", "processes"] {
        let report = Client::new(server.port)
            .connections(30)
            .workers(8, mode)
            .run();
        report.assert_mixed(240);
    }
}

#[test]
fn trickled_handshakes_complete() {
    let server = Server::nginx(Sessions::Ids);
    let report = Client::new(trickle(server.port))
        .with("--connections", "4")
        .run();
    assert_eq!(report.total(|row| row.full + row.resumed), 4, "{report:?}");
}

#[test]
fn misbehaviour_reaches_the_servers() {
    for make in [
        Server::haproxy,
        Server::nginx,
        Server::stunnel,
        Server::python,
    ] {
        let server = make(Sessions::Ids);
        let modes = [
            "reset-half-hello",
            "reset-after-flight",
            "close-half-hello",
            "close-after-flight",
            "plain-http",
        ];
        for mode in modes {
            misbehave(mode, server.port, 3);
        }
        misbehave("no-shared-cipher", server.port, 3);
        // The server is none the worse for it.
        assert_eq!(Client::new(server.port).run().total(|row| row.full), 1);
    }
}

#[test]
fn the_parser_reads_a_page() {
    let page = "# HELP a b\n# TYPE a counter\na_total{x=\"1,\\\"}\",y=\"2\"} 3\nb 4.5\nc_bucket{le=\"+Inf\"} 7\n# EOF\n";
    let metrics = Metrics::parse(page).expect("a well-formed page");
    assert_eq!(metrics.get("a_total", &[("x", "1,\"}")]), Some(3.0));
    assert_eq!(metrics.get("b", &[]), Some(4.5));
    assert_eq!(metrics.get("c_bucket", &[("le", "+Inf")]), Some(7.0));
    assert_eq!(metrics.get("d", &[]), None);
    assert!(Metrics::parse("a 1\na 2\n").is_err(), "a sample twice");
    assert!(Metrics::parse("<html>\n").is_err(), "no sample");
}
