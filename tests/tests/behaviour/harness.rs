//! The ground truth itself, without an agent: servers and clients produce the mix of handshakes
//! that the other tests rely on.
//!
//! If one of these tests fails, failures of the others do not concern the agent.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use reprise_tests::alone::ALONE;
use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::orphans;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::run;
use reprise_tests::relay::relay_in_pieces;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Metrics, Report, Server};

/// Asserts that every offered session is resumed, so that the client's pattern determines the mix.
fn resumes_by_the_pattern(server: &Server) -> Report {
    let report = Client::new(server.port)
        .connections(60)
        .with("--fresh-every", "7")
        .run();
    report.assert_mixed(60);
    // Connection i offers no session if i % 7 == 0 or its source is new (i < 6).
    let fresh = (0..60).filter(|i| i % 7 == 0 || *i < SOURCES.len()).count();
    let full = report.total(|row| row.full);
    assert_eq!(usize::try_from(full), Ok(fresh), "{report:?}");
    report
}

#[test]
fn every_server_resumes_offered_sessions() {
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
fn handshakes_in_small_pieces_complete() {
    let server = Server::nginx(Sessions::Ids);
    let report = Client::new(relay_in_pieces(server.port))
        .with("--connections", "4")
        .run();
    assert_eq!(report.total(|row| row.full + row.resumed), 4, "{report:?}");
}

#[test]
fn malformed_handshakes_reach_the_servers() {
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
        // The server is unharmed.
        assert_eq!(Client::new(server.port).run().total(|row| row.full), 1);
    }
}

/// Environment variable: this process is the child that is killed.
const AS_CHILD: &str = "REPRISE_TESTS_AS_CHILD";

/// Starts a process that leads a group, like every server.
fn sleeper() -> Child {
    let mut sleep = Command::new("sleep");
    sleep.arg("600").stdout(Stdio::null()).process_group(0);
    sleep.spawn().expect("failed to start a process")
}

#[test]
fn processes_end_with_a_killed_test() {
    if std::env::var_os(AS_CHILD).is_some() {
        // The end of the spawning thread must not end the processes.
        let spawn = || [sleeper(), sleeper()].map(|child| child.id());
        let [left, removed] = thread::spawn(spawn).join().expect("failed to start");
        orphans::add(removed);
        orphans::add(left);
        orphans::remove(removed);
        println!("\nstarted {left} {removed}");
        loop {
            thread::park();
        }
    }
    let mut test = Command::new(std::env::current_exe().expect("a program has a path"));
    test.args(["harness::processes_end_with_a_killed_test", "--exact"])
        .arg("--nocapture")
        .env(AS_CHILD, "1")
        .stdout(Stdio::piped());
    let mut test = test.spawn().expect("failed to start the test");
    let output = BufReader::new(test.stdout.take().expect("stdout is a pipe"));
    let line = output
        .lines()
        .map(|line| line.expect("failed to read the output"))
        .find_map(|line| line.strip_prefix("started ").map(str::to_owned))
        .expect("the test ended early");
    let (left, removed) = line.split_once(' ').expect("two processes");
    assert!(runs(left) && runs(removed), "{line}");
    test.kill().expect("failed to kill the test");
    test.wait().expect("failed to wait for the test");
    poll_until("the process ends", DEADLINE, || match runs(left) {
        true => Err(format!("{left} still runs")),
        false => Ok(()),
    });
    assert!(runs(removed), "{removed} was removed and yet killed");
    run(Command::new("kill").arg(removed));
}

/// Returns whether a process exists and is not a zombie.
fn runs(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

/// The list in the code decides about locks and scopes, the one in the configuration about order.
#[test]
fn nextest_runs_the_same_tests_alone() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../.config/nextest.toml");
    let text = fs::read_to_string(path).expect("failed to read the configuration");
    let filters = text.split("test(/^").skip(1);
    let mut listed: Vec<_> = filters
        .filter_map(|rest| rest.split_once("/)").map(|(name, _)| name))
        .collect();
    let mut alone = ALONE.to_vec();
    listed.sort_unstable();
    alone.sort_unstable();
    assert_eq!(listed, alone);
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
