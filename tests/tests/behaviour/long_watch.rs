//! Reasons after days of watching: recordings of real servers, replayed once an hour for two days.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::thread::scope;

use nix::sys::signal::Signal;
use reprise_tests::agent::{command, recorder};
use reprise_tests::matrix::{
    Cell, Erlang, Fault, Go, HaProxy, Java, Kind, MbedTls, Nginx, Target, count_clients,
};
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::Process;
use reprise_tests::recording::Recording;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Server, user};

/// Hours of watching.
const HOURS: u32 = 48;
const HOUR_S: u64 = 3_600;

/// One server with one fault.
struct Case<'a> {
    target: &'a dyn Target,
    cell: Cell,
    /// Reasons that are true.
    reasons: &'a [&'a str],
}

/// Records all cases at the same time; returns the numbers of missed sessions that their clients
/// counted. The clients of a case have the addresses 127.71.N.1 and up, where N is its number.
fn record(cases: &[Case<'_>], path: &OsStr) -> Vec<u32> {
    let _holder = Process::spawn(
        std::process::Command::new("node").args(["-e", "setInterval(() => {}, 1000)"]),
    );
    let server = Server::haproxy(Sessions::Tickets);
    let mut recorder = Process::spawn(&mut recorder(Path::new(path)));
    poll_until("a handshake is recorded", DEADLINE, || {
        let _ = Client::new(server.port).once_from("127.0.0.98").run();
        let output = command([OsStr::new("replay"), path]);
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        if table.contains("127.0.0.98") {
            Ok(())
        } else {
            Err(table)
        }
    });
    let missed = scope(|threads| {
        let numbered = cases.iter().enumerate();
        let running: Vec<_> = numbered
            .map(|(number, case)| {
                let network = format!("127.71.{number}");
                threads.spawn(move || count_clients(case.target, case.cell, &network).missed)
            })
            .collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.map(|missed| missed.expect("a case failed")).collect()
    });
    recorder.signal(Signal::SIGTERM);
    let (status, _) = recorder.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "stderr: {}", recorder.stderr());
    missed
}

/// Replays a recording; returns the reasons of servers by the clients' network.
fn reasons(path: &OsStr) -> BTreeMap<String, BTreeMap<String, u32>> {
    let output = command([OsStr::new("replay"), path, "--explain".as_ref()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut reasons = BTreeMap::<_, BTreeMap<_, _>>::new();
    for line in stdout.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [_, peer, "server", _, reason, "rule", ..] = words[..]
            && let Some((network, _)) = peer.rsplit_once('.')
        {
            let network = reasons.entry(network.to_owned()).or_default();
            *network.entry(reason.to_owned()).or_default() += 1;
        }
    }
    reasons
}

/// Records the cases and asserts that every reason is true or unknown in each of the 48 hours, and
/// that at least `named` of 100 misses have one.
fn assert_true_for_two_days(cases: &[Case<'_>], new_keys: bool, named: u32) {
    let directory = user::directory();
    let [recorded, repeated] = ["recorded", "repeated"].map(|name| directory.path().join(name));
    let missed = record(cases, recorded.as_os_str());
    Recording::read(&recorded).write_repeated(&repeated, HOURS, HOUR_S, new_keys);
    let reasons = reasons(repeated.as_os_str());
    for (number, (case, missed)) in cases.iter().zip(missed).enumerate() {
        let what = format!("{}, {}", case.target.name(), case.cell);
        let counts = &reasons[&format!("127.71.{number}")];
        println!("{what}: {counts:?}");
        assert_eq!(
            counts.values().sum::<u32>(),
            HOURS * missed,
            "{what}: {counts:?}"
        );
        let all = |names: &[&str]| {
            names
                .iter()
                .filter_map(|name| counts.get(*name))
                .sum::<u32>()
        };
        let (right, unknown) = (all(case.reasons), all(&["unknown"]));
        assert_eq!(right + unknown, HOURS * missed, "{what}: {counts:?}");
        assert!(right * 100 >= HOURS * missed * named, "{what}: {counts:?}");
    }
}

#[test]
fn tickets_without_a_key_name_are_never_foreign() {
    let (erlang, java, mbedtls, go) = (
        Erlang::build(),
        Java::build(),
        MbedTls::build(),
        Go::build(),
    );
    let case = |target, fault, kind, reasons| Case {
        target,
        cell: Cell { kind, fault },
        reasons,
    };
    let expired: &[&str] = &["expired"];
    // The lifetimes of tickets that the agent reads on the wire are those of TLS 1.2.
    let cases = [
        case(
            &erlang as &dyn Target,
            Fault::LifetimeTooShort,
            Kind::Stateless,
            expired,
        ),
        case(&java, Fault::Restart, Kind::Stateless, &["restarted"]),
        case(&java, Fault::Restart, Kind::Ticket, &["restarted"]),
        case(&mbedtls, Fault::LifetimeTooShort, Kind::Ticket, expired),
        case(&go, Fault::Restart, Kind::Stateless, &["restarted"]),
        case(&go, Fault::Restart, Kind::Ticket, &["restarted"]),
    ];
    assert_true_for_two_days(&cases, true, 0);
}

#[test]
fn reasons_of_keys_hold_after_two_days() {
    let rotated: &[&str] = &["retired_key", "restarted"];
    let cases = [Kind::Ticket, Kind::Stateless].map(|kind| {
        let case = |target, fault, reasons| Case {
            target,
            cell: Cell { kind, fault },
            reasons,
        };
        [
            case(&HaProxy as &dyn Target, Fault::KeyRotated, &["retired_key"]),
            case(&HaProxy, Fault::Restart, &["restarted"]),
            case(&Nginx, Fault::KeyRotated, rotated),
        ]
    });
    // The first three of thirty clients return before the new key was used often enough.
    assert_true_for_two_days(cases.as_flattened(), true, 85);
}

#[test]
fn two_nodes_with_the_same_keys_for_two_days() {
    let cases = [Kind::Ticket, Kind::Stateless].map(|kind| Case {
        target: &HaProxy,
        cell: Cell {
            kind,
            fault: Fault::SecondNode,
        },
        reasons: &["foreign_key"],
    });
    assert_true_for_two_days(&cases, false, 95);
}
