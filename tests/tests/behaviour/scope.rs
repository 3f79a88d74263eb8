//! `--cgroup`: only the processes of one cgroup and of those below it are observed.

use std::fs;
use std::time::Duration;

use reprise_tests::agent::command;
use reprise_tests::cgroup::Cgroup;
use reprise_tests::libssl::Copy;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::{Process, fixture, run};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, Client, Metrics, Server};
use serde_json::Value;
use tempfile::TempDir;

const HANDSHAKES: &str = "reprise_handshakes_total";
/// Time to the next scan of all processes, of which the agent spends a hundredth on scanning.
const NEXT_SCAN: Duration = Duration::from_secs(90);
const SENSORS: [&str; 3] = ["handshake", "tcp", "wire"];

fn server(cgroup: &Cgroup) -> Server {
    Server::python_under(Sessions::Tickets, "127.0.0.1", &mut cgroup.python())
}

/// Runs the client in a cgroup; returns the numbers of full and resumed handshakes.
fn connect(cgroup: &Cgroup, server: &Server) -> [(&'static str, u32); 2] {
    let prefix = cgroup.prefix();
    let words: Vec<_> = prefix.iter().map(String::as_str).collect();
    let client = Client::new(server.port).under(&words).connections(30);
    let report = client.run();
    report.assert_mixed(30);
    [
        ("full", report.total(|row| row.full)),
        ("resumed", report.total(|row| row.resumed)),
    ]
}

fn add(expected: &mut Expected, roles: &[&str], counts: [(&str, u32); 2]) {
    for role in roles {
        for (resumption, count) in counts {
            expected.add(
                HANDSHAKES,
                &[("role", role), ("resumption", resumption)],
                count,
            );
            expected.add(HANDSHAKES, &[], count);
        }
    }
}

/// Makes a refused connection in a cgroup, which both ends of the kernel report as a reset.
fn refused(cgroup: &Cgroup) {
    let program = "import socket, sys; socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))";
    let mut python = cgroup.python();
    run(python.args(["-c", program, &free_port().to_string()]));
}

fn events(metrics: &Metrics) -> [f64; 3] {
    SENSORS.map(|sensor| metrics.sum("reprise_events_total", &[("sensor", sensor)]))
}

/// Pages without a new event after which all events were read: the agent reads them every 25 ms.
const QUIET_PAGES: u32 = 10;

/// Waits until no more events arrive.
fn settled(agent: &Agent) -> Metrics {
    let (mut last, mut equal) = (events(&agent.metrics()), 0);
    poll_until("no events arrive", DEADLINE, || {
        let metrics = agent.metrics();
        let now = events(&metrics);
        equal = if now == last { equal + 1 } else { 0 };
        last = now;
        (equal >= QUIET_PAGES)
            .then_some(metrics)
            .ok_or(format!("{now:?}"))
    })
}

/// Asserts that `body`, which happens outside of the cgroup, leaves no trace.
fn leaves_no_trace(agent: &Agent, body: impl FnOnce()) {
    let connections = [("table", "connections")];
    let seen = |metrics: &Metrics| {
        let tracked = metrics.sum("reprise_tracked", &connections);
        (events(metrics), tracked, agent.stderr())
    };
    let before = seen(&settled(agent));
    body();
    assert_eq!(seen(&settled(agent)), before);
}

#[test]
fn one_of_two_cgroups_is_counted() {
    // The processes are below the observed cgroup.
    let [inside, outside] = ["inside/below", "outside"].map(Cgroup::new);
    let [here, elsewhere] = [&inside, &outside].map(server);
    let scope = inside.path().parent().expect("a cgroup is in another one");
    let agent = Agent::start(["--cgroup".as_ref(), scope.as_os_str()]);
    let before = agent.metrics();
    let mut expected = Expected::default();
    add(
        &mut expected,
        &["server", "client"],
        connect(&inside, &here),
    );
    let _ = connect(&outside, &elsewhere);
    // Of a connection into the cgroup or out of it, one end is observed.
    add(&mut expected, &["server"], connect(&outside, &here));
    add(&mut expected, &["client"], connect(&inside, &elsewhere));
    expected.assert_counted(&agent, &before);
    assert_nothing_lost(&agent.metrics());
    leaves_no_trace(&agent, || {
        let _ = connect(&outside, &elsewhere);
        refused(&outside);
    });
    let without = events(&agent.metrics());
    refused(&inside);
    poll_until("resets inside are reported", DEADLINE, || {
        let with = events(&agent.metrics());
        (with[1] > without[1])
            .then_some(())
            .ok_or(format!("{with:?}"))
    });
    expected.assert_counted(&agent, &before);
    agent.assert_healthy();
}

/// A process that cannot be observed, in a cgroup.
fn unobservable(cgroup: &Cgroup, directory: &TempDir) -> Process {
    let path = directory.path().join("libssl.so.3");
    fs::write(&path, [0x5a; 8192]).expect("failed to write a file");
    let process = Process::spawn(cgroup.python().arg(fixture("mapper.py")).arg(&path));
    process.wait_stdout("mapped\n");
    process
}

#[test]
fn coverage_is_that_of_the_cgroup() {
    let directory = TempDir::new().expect("failed to create a directory");
    let [inside, outside] = ["inside", "outside"].map(Cgroup::new);
    let _foreign = unobservable(&outside, &directory);
    let _observed = server(&outside);
    let agent = Agent::start(["--cgroup".as_ref(), inside.path().as_os_str()]);
    let processes = || {
        let body = agent.get("/api/v1/libraries").expect("no response").body;
        let body: Value = serde_json::from_str(&body).expect("no JSON");
        let uncovered = agent.metrics().sum("reprise_uncovered_processes", &[]);
        (body["observed_processes"].as_u64(), uncovered)
    };
    assert_eq!(processes(), (Some(0), 0.0));
    let _own = unobservable(&inside, &directory);
    let _server = server(&inside);
    poll_until("the processes inside are listed", DEADLINE, || {
        let processes = processes();
        (processes == (Some(1), 1.0))
            .then_some(())
            .ok_or(format!("{processes:?}"))
    });
    agent.assert_healthy();
}

#[test]
fn a_process_that_moves_in_is_observed() {
    let [inside, outside] = ["inside", "outside"].map(Cgroup::new);
    let copy = Copy::new();
    let mut python = outside.python();
    let moved = Server::python_under(
        Sessions::Tickets,
        "127.0.0.1",
        python.env("LD_LIBRARY_PATH", copy.directory()),
    );
    let agent = Agent::start(["--cgroup".as_ref(), inside.path().as_os_str()]);
    let attached = || {
        let labels = [("probe", "hs_enter"), ("verdict", "attached")];
        agent.metrics().sum("reprise_probe_attached", &labels)
    };
    let before = attached();
    inside.move_here(moved.process.pid());
    poll_until("its library is attached", NEXT_SCAN, || {
        (attached() > before)
            .then_some(())
            .ok_or_else(|| agent.stderr())
    });
    let before = agent.metrics();
    let mut expected = Expected::default();
    let counts = connect(&outside, &moved);
    add(&mut expected, &["server"], counts);
    expected.assert_counted(&agent, &before);
}

#[test]
fn an_unusable_cgroup_is_named_with_a_remedy() {
    for (path, reason) in [
        ("/proc", "not a directory of the cgroup v2 hierarchy"),
        ("/no/such/cgroup", "No such file or directory"),
        ("no-such.slice", "No such file or directory"),
    ] {
        let output = command(["run", "--cgroup", path]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        for part in [path, reason, "remedy: "] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}
