//! Names of peers, their limit, and their resumption ratio.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::Signal;
use reprise_tests::fleet::Fleet;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Metrics, Server};
use tempfile::TempDir;

const FAMILY: &str = "reprise_peer_handshakes_total";

/// Waits until the server-role counts of `peer` equal this report.
fn expect_peer(agent: &Agent, before: &Metrics, peer: &str, full: u32, resumed: u32) {
    let mut expected = Expected::default();
    for (resumption, count) in [("full", full), ("resumed", resumed)] {
        expected.add(
            FAMILY,
            &[
                ("peer", peer),
                ("role", "server"),
                ("resumption", resumption),
            ],
            count,
        );
    }
    // They are counted under no other name.
    expected.add(FAMILY, &[("role", "server")], full + resumed);
    expected.assert_counted(agent, before);
}

#[test]
fn the_ratio_is_resumed_by_completed() {
    let server = Server::nginx(Sessions::Tickets);
    let agent = Agent::start(["--window", "3600"]);
    let before = agent.metrics();
    assert!(
        before
            .matching("reprise_peer_resume_ratio", &[("peer", "127.0.0.2")])
            .next()
            .is_none(),
        "a false zero"
    );
    let report = Client::new(server.port).connections(60).run();
    report.assert_mixed(60);
    let mut expected = Expected::default();
    expected
        .add_report(&server, &report)
        .assert_final(&agent, &server, &before);
    let after = agent.metrics();
    for (source, row) in &report.rows {
        let want = f64::from(row.resumed) / f64::from(row.full + row.resumed);
        let have = after.get(
            "reprise_peer_resume_ratio",
            &[("peer", source), ("role", "server")],
        );
        assert!(
            have.is_some_and(|have| (have - want).abs() < 1e-9),
            "{source}: {have:?}, not {want}"
        );
    }
}

#[test]
fn a_prefix_joins_its_addresses() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start(["--peer-prefix-v4", "24"]);
    let before = agent.metrics();
    let report = Client::new(server.port).connections(60).run();
    report.assert_mixed(60);
    let total = report.total(|row| row.full + row.resumed);
    poll_until("the prefix is counted", DEADLINE, || {
        let after = agent.metrics();
        let names: BTreeSet<_> = after
            .matching(FAMILY, &[("role", "server")])
            .map(|sample| sample.labels["peer"].clone())
            .collect();
        let rise =
            after.sum(FAMILY, &[("role", "server")]) - before.sum(FAMILY, &[("role", "server")]);
        let one = names.len() == 1
            && names
                .first()
                .is_some_and(|name| name.starts_with("127.0.0.0"));
        if one && rise == f64::from(total) {
            Ok(())
        } else {
            Err(format!("{names:?}: +{rise}, not +{total}"))
        }
    });
}

#[test]
fn peers_beyond_the_limit_are_other() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start(["--max-peers", "3"]);
    let before = agent.metrics();
    let report = Client::new(server.port).connections(60).run();
    report.assert_mixed(60);
    let total = report.total(|row| row.full + row.resumed);
    let mut expected = Expected::default();
    // Both roles: no handshake is missing from the sum.
    expected
        .add(FAMILY, &[], 2 * total)
        .assert_counted(&agent, &before);
    let after = agent.metrics();
    let names: BTreeSet<_> = after
        .matching(FAMILY, &[])
        .map(|sample| &sample.labels["peer"])
        .collect();
    let named = names.iter().filter(|name| **name != "other").count();
    assert!(named <= 3, "{named} peers by name: {names:?}");
    assert!(
        after.sum(FAMILY, &[("peer", "other")]) > 0.0,
        "no other: {names:?}"
    );
}

#[test]
fn many_handshakes_as_other_are_logged() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start(["--max-peers", "3"]);
    let mut fleet = Fleet::start_with_addresses(&[], "127.9.8", 150);
    fleet.connect(server.port, "");
    poll_until("the agent logs the share", DEADLINE, || {
        let log = agent.stderr();
        let line = log.lines().find(|line| line.contains("as peer=\"other\""));
        let line = line.ok_or_else(|| log.clone())?;
        assert!(line.contains("raise --max-peers"), "{line}");
        Ok(())
    });
}

#[test]
fn groups_are_reloaded_and_a_malformed_file_is_ignored() {
    let directory = TempDir::new().expect("failed to create a directory");
    let file = directory.path().join("peers.toml");
    let group = |name: &str| {
        format!("[groups]\n{name} = [\"127.0.0.0/29\"]\n\"wide\" = [\"127.0.0.0/8\"]\n")
    };
    fs::write(&file, group("sensors")).expect("failed to write the peer file");
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start([std::ffi::OsStr::new("--peer-file"), file.as_os_str()]);
    let handshake = || Client::new(server.port).once_from("127.0.0.2").run();

    let before = agent.metrics();
    handshake();
    // The longest prefix wins, which is not `wide`.
    expect_peer(&agent, &before, "sensors", 1, 0);

    let logged = agent.stderr().len();
    fs::write(&file, "[groups]\nsensors = [\"no address\"]\n")
        .expect("failed to write the peer file");
    agent.signal(Signal::SIGHUP);
    poll_until("the agent logs an error in the peer file", DEADLINE, || {
        let log = agent.stderr().split_off(logged);
        if log.contains("peers.toml") {
            Ok(())
        } else {
            Err(log)
        }
    });
    let before = agent.metrics();
    handshake();
    expect_peer(&agent, &before, "sensors", 1, 0);

    fs::write(&file, group("renamed")).expect("failed to write the peer file");
    agent.signal(Signal::SIGHUP);
    poll_until("the new name is used", DEADLINE, || {
        handshake();
        let have = agent
            .metrics()
            .sum(FAMILY, &[("peer", "renamed"), ("role", "server")]);
        if have > 0.0 {
            Ok(())
        } else {
            Err(format!(
                "{}{}",
                agent.metrics().show(FAMILY),
                agent.stderr()
            ))
        }
    });
    agent.assert_healthy();
}
