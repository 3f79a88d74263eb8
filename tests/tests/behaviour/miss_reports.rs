//! Misses as reported in public issue trackers: each cause is reproduced with real servers and
//! compared with the reported reason.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use reprise_tests::certificates::ec;
use reprise_tests::fleet::Fleet;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::{PYTHON, Process};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Metrics, Server, faketime};

use crate::misses::{
    CACHED, CLIENTS, KEYED, MISSES, REMOVED, RotatingNode, SERVER, assert_reason, haproxy_node,
};

const NO_ARGUMENTS: [&str; 0] = [];
/// Connections of one client.
const CONNECTIONS: u32 = 40;

/// Asserts that the misses have this reason; at most `unknown` of them may have none yet.
fn assert_reason_with_unknown(
    agent: &Agent,
    before: &Metrics,
    misses: u32,
    reason: &str,
    unknown: u32,
) {
    let mut expected = Expected::default();
    expected
        .add(MISSES, &[SERVER], misses)
        .assert_counted(agent, before);
    let after = agent.metrics();
    let rise = |reason| {
        let labels = [SERVER, ("reason", reason)];
        after.sum(MISSES, &labels) - before.sum(MISSES, &labels)
    };
    let (named, unnamed) = (rise(reason), rise("unknown"));
    assert_eq!(
        named + unnamed,
        f64::from(misses),
        "{}",
        after.show("cache_misses_total")
    );
    assert!(unnamed <= f64::from(unknown), "{unnamed} of {misses}");
}

/// Waits until the advice for the client's address contains `text`.
fn expect_advice(agent: &Agent, text: &str) {
    poll_until("the advice", DEADLINE, || {
        let peers = agent.get("/api/v1/peers")?.body;
        if peers.contains(text) {
            Ok(())
        } else {
            Err(peers)
        }
    });
}

/// HAProxy with `no-tls-tickets` and `tune.ssl.cachesize 0` still issues TLS 1.3 session IDs.
#[test]
fn sessions_that_are_issued_and_never_stored() {
    let tuning = Tuning {
        cache: 0,
        ..Tuning::default()
    };
    let server = haproxy_node(Sessions::Tickets, true, &tuning);
    let agent = Agent::start(NO_ARGUMENTS);
    let mut client = Fleet::start(1);
    client.connect(server.port, "");
    let before = agent.metrics();
    let missed = (0..CONNECTIONS).map(|_| client.miss(server.port, "")).sum();
    assert_reason(&agent, &before, missed, "not_stored");
    expect_advice(&agent, "issues sessions that it does not store");
}

#[test]
fn a_cache_that_ends_with_its_process() {
    for (sessions, stateful) in CACHED {
        let server = haproxy_node(sessions, stateful, &Tuning::default());
        let agent = Agent::start(NO_ARGUMENTS);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(server.port, "");
        fleet.resume(server.port, "");
        let port = Some(server.port);
        drop(server);
        let tuning = Tuning {
            port,
            ..Tuning::default()
        };
        let server = haproxy_node(sessions, stateful, &tuning);
        let before = agent.metrics();
        let missed = fleet.miss(server.port, "");
        assert_reason(&agent, &before, missed, "restarted");
    }
}

#[test]
fn workers_with_ticket_keys_of_their_own() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in KEYED {
        let python = &mut Command::new(PYTHON);
        let server = Server::python_with(sessions, "127.0.0.1", python, &["--workers", "3"]);
        let mut client = Fleet::start(1);
        let start = agent.metrics();
        // After a reload the old process serves for a short time beside the new one, so that
        // workers are known as such only after a while.
        let first_missed = (0..CONNECTIONS)
            .map(|_| {
                sleep(Duration::from_millis(5));
                let round = client.connect(server.port, "");
                round.offered - round.resumed
            })
            .sum();
        let mut counted = Expected::default();
        counted
            .add(MISSES, &[SERVER], first_missed)
            .assert_counted(&agent, &start);
        let before = agent.metrics();
        let missed = (0..CONNECTIONS)
            .map(|_| client.connect(server.port, ""))
            .map(|round| round.offered - round.resumed)
            .sum();
        assert!(
            missed > CONNECTIONS / 4,
            "one worker served {missed} misses"
        );
        // A worker's key is unknown until it was used.
        assert_reason_with_unknown(&agent, &before, missed, "other_process", 5);
    }
    expect_advice(&agent, "another live process of the service");
}

/// The server frees its connections without `SSL_shutdown`, so OpenSSL drops their sessions; the
/// client sends `close_notify`.
#[test]
fn a_server_that_closes_without_close_notify() {
    let python = &mut Command::new(PYTHON);
    let server = Server::python_with(Sessions::Ids, "127.0.0.1", python, &["--no-close-notify"]);
    let agent = Agent::start(NO_ARGUMENTS);
    let mut client = Fleet::start(1);
    let before = agent.metrics();
    client.connect(server.port, "");
    let missed = (0..CONNECTIONS).map(|_| client.miss(server.port, "")).sum();
    assert_reason(&agent, &before, missed, "removed");
    let cause = [("cause", "unclean_close_by_server")];
    let mut expected = Expected::default();
    expected.add(REMOVED, &cause, CONNECTIONS + 1);
    expected.add(REMOVED, &[], CONNECTIONS + 1);
    expected.assert_counted(&agent, &before);
    expect_advice(&agent, "let the server call SSL_shutdown");
}

#[test]
fn a_key_rotated_while_the_server_runs() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in KEYED {
        let node = RotatingNode::start(sessions);
        let server = &node.server;
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(server.port, "");
        fleet.resume(server.port, "");
        node.rotate();
        let mut others = Fleet::start(5);
        others.connect(server.port, "");
        others.resume(server.port, "");
        let before = agent.metrics();
        let missed = fleet.miss(server.port, "");
        assert_reason(&agent, &before, missed, "retired_key");
    }
}

/// A device starts with a clock of 1970, which is corrected while it serves.
#[test]
fn a_clock_that_is_stepped_from_1970() {
    let library = faketime::library();
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::OldTickets, Sessions::Tickets] {
        let directory = tempfile::TempDir::new().expect("failed to create a directory");
        let clock = directory.path().join("clock");
        fs::write(&clock, "@1970-01-01 00:10:00\n").expect("failed to set the clock");
        let under = [
            "env",
            &format!("LD_PRELOAD={library}"),
            &format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ];
        let tuning = Tuning {
            under: &under,
            ..Tuning::default()
        };
        let server = haproxy_node(sessions, false, &tuning);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(server.port, "");
        fleet.resume(server.port, "");
        fs::write(&clock, "+0\n").expect("failed to set the clock");
        let before = agent.metrics();
        let missed = fleet.miss(server.port, "");
        assert_reason(&agent, &before, missed, "clock");
    }
    expect_advice(&agent, "was stepped forward by");
}

/// HAProxy that requests a certificate in full handshakes and does not require one.
fn haproxy_that_requests_certificates() -> Server {
    let bind = format!("verify optional ca-file {}", ec().cert.display());
    let tuning = Tuning {
        bind: &bind,
        ..Tuning::default()
    };
    haproxy_node(Sessions::Tickets, false, &tuning)
}

/// The server requests a certificate only in full handshakes. A client that offered a session
/// aborts on that request, and then returns without an offer.
#[test]
fn handshakes_that_fail_only_with_an_offer() {
    let server = haproxy_that_requests_certificates();
    let agent = Agent::start(NO_ARGUMENTS);
    let mut client = Fleet::start(1);
    let before = agent.metrics();
    client.connect(server.port, "");
    let failed = (0..10)
        .map(|_| {
            let failed = client.hang_up(server.port);
            client.connect(server.port, "forget");
            failed
        })
        .sum();
    let mut expected = Expected::default();
    let offers = "reprise_resumption_offers_total";
    expected.add(offers, &[SERVER, ("outcome", "failed")], failed);
    expected.add(offers, &[SERVER], failed);
    expected.assert_counted(&agent, &before);
    expect_advice(
        &agent,
        "10 of 10 failed with an offer, and 0 of 10 without one",
    );
    let failures = agent.get("/api/v1/failures").expect("the failures").body;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&failures).expect("a list in JSON");
    let offered = |row: &&serde_json::Value| row["role"] == "server" && row["mechanism"] == "psk";
    assert!(rows.iter().any(|row| offered(&row)), "{failures}");
}

/// As above, but no client ever returns without an offer: the first visits of others are the
/// comparison.
#[test]
fn clients_that_fail_whenever_they_return() {
    let server = haproxy_that_requests_certificates();
    let agent = Agent::start(NO_ARGUMENTS);
    let mut returning = Fleet::start_with_addresses(&[], "127.61.27", 2);
    returning.connect(server.port, "");
    let failed: u32 = (0..6).map(|_| returning.hang_up(server.port)).sum();
    let mut others = Fleet::start_with_addresses(&[], "127.61.28", 4);
    let without = others.connect(server.port, "").connected;
    let text = format!(
        "of all clients of this server, {failed} of {failed} failed with an offer, and 0 of \
         {without} without one"
    );
    expect_advice(&agent, &text);
}

/// With early data, OpenSSL's tickets name cache entries that each resume one connection: a
/// resumption removes no session before its time, and an unclean close of the client does.
#[test]
fn entries_that_each_resume_one_connection() {
    let port = free_port();
    let (cert, key) = (ec().cert.display(), ec().key.display());
    // s_server ends a connection when its stdin ends, and answers nothing.
    let script = format!(
        "sleep 120 | exec openssl s_server -quiet -tls1_3 -early_data -num_tickets 1 \
         -accept 127.0.0.1:{port} -cert {cert} -key {key}"
    );
    let mut server = Process::spawn(Command::new("sh").args(["-c", &script]));
    server.wait_listening(port);
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(10);
    let before = agent.metrics();
    fleet.connect(port, "talk=line");
    let resumed = fleet.resume(port, "talk=line") + fleet.resume(port, "talk=line fin");
    let mut expected = Expected::default();
    let counted = [SERVER, ("resumption", "resumed")];
    expected.add("reprise_handshakes_total", &counted, resumed);
    let cause = [("cause", "unclean_close_by_peer")];
    expected.add(REMOVED, &cause, 10).add(REMOVED, &[], 10);
    expected.assert_counted(&agent, &before);
    let missed = fleet.miss(port, "talk=line");
    assert_reason(&agent, &before, missed, "removed");
}
