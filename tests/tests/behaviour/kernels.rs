//! Fallbacks for older kernels, forced on this one: perf event arrays, one perf event per probe,
//! program copies per library. `cargo xtask vm` runs the first of these tests on other kernels.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::{PYTHON, run};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Server};
use serde_json::Value;

/// Few enough connections for an emulated machine.
const CONNECTIONS: u32 = 24;

/// Observes session IDs and tickets, a server that was started before the agent and one started
/// later; then a program with another library file, so that two libraries are distinguished.
fn both_ends_are_counted(arguments: &[&str]) {
    let running = Server::python(Sessions::Ids);
    let agent = Agent::start(arguments);
    agent.wait_libraries(1);
    let starting = Server::s_server(Sessions::Tickets);
    for server in [&running, &starting] {
        warm_up(&agent, server);
        let client = Client::new(server.port).connections(CONNECTIONS);
        observe(&agent, server, &client, CONNECTIONS);
    }
    agent.assert_healthy();
}

#[test]
fn the_default_mode() {
    both_ends_are_counted(&[]);
}

#[test]
fn cookies_on_perf_events() {
    both_ends_are_counted(&["--library-data", "cookie"]);
}

#[test]
fn copies_per_library() {
    both_ends_are_counted(&["--library-data", "copy"]);
}

#[test]
fn perf_event_arrays() {
    both_ends_are_counted(&["--transport", "perf"]);
}

/// The verifier of 5.4 stops after a million instructions and follows paths that later ones find
/// equal: 657,988 instructions of `wire_out` where 6.18 needs 84,128, and 272,260 of `wire_in`
/// instead of 125,893 (measured by hand on 5.4.286).
#[test]
fn programs_are_simple_enough_for_older_verifiers() {
    let agent = Agent::start(["--transport", "perf"]);
    let status = agent.get("/api/v1/status").expect("no status");
    let status: Value = serde_json::from_str(&status.body).expect("no JSON");
    let verified = status["verified_instructions"].as_object();
    let verified = verified.expect("no counts: this kernel, older than 5.16, does not count");
    for (program, most) in [("wire_out", 110_000), ("wire_in", 200_000)] {
        let count = verified.get(program).and_then(Value::as_u64);
        assert!(count.is_some_and(|count| count < most), "{verified:?}");
    }
}

/// With `--kernel-log` the BPF programs log dropped events, here because the event buffer is full.
#[test]
fn kernel_losses_are_logged_on_request() {
    let agent = Agent::start(["--kernel-log"]);
    let words = "event buffer full, event dropped";
    assert!(!agent.stderr().contains(words), "{}", agent.stderr());
    agent.signal(Signal::SIGSTOP);
    let port = free_port().to_string();
    run(Command::new(PYTHON).args(["-c", REFUSED, &port]));
    agent.signal(Signal::SIGCONT);
    poll_until("the loss is logged", DEADLINE, || {
        let log = agent.stderr();
        if log.contains(words) {
            Ok(())
        } else {
            Err(log)
        }
    });
    let lost = agent
        .metrics()
        .sum("reprise_events_lost_total", &[("sensor", "tcp")]);
    assert!(lost > 0.0, "logged, and not counted");
}

/// Makes refused connections, each of which causes a reset event, until the buffers of the CPUs are
/// full.
const REFUSED: &str = "
import socket, sys
for _ in range(20000):
    with socket.socket() as one:
        one.connect_ex(('127.0.0.1', int(sys.argv[1])))
";

#[test]
fn events_that_do_not_fit_are_counted() {
    let server = Server::python(Sessions::Tickets);
    let agent = Agent::start(["--transport", "perf"]);
    agent.wait_libraries(1);
    warm_up(&agent, &server);
    let lost = || {
        let labels = [("sensor", "tcp")];
        agent.metrics().sum("reprise_events_lost_total", &labels)
    };
    assert_eq!(lost(), 0.0, "lost before anything was in the way");
    agent.signal(Signal::SIGSTOP);
    let port = free_port().to_string();
    run(Command::new(PYTHON).args(["-c", REFUSED, &port]));
    agent.signal(Signal::SIGCONT);
    poll_until("the loss is counted", DEADLINE, || match lost() {
        0.0 => Err(agent.metrics().show("events")),
        _ => Ok(()),
    });
    // Observation continues afterwards.
    warm_up(&agent, &server);
    let (status, took) = agent.terminate();
    assert_eq!(status, Some(0), "after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
