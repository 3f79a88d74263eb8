//! Whose handshakes they are: container and process are known although both have ended before the
//! agent reads the event.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use reprise_tests::agent::{command, recorder};
use reprise_tests::cgroup::Cgroup;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, Process, run};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Metrics, Server, user};

const FAMILY: &str = "reprise_client_handshakes_total";
const NO_ARGUMENTS: [&str; 0] = [];
/// Containers that live for one handshake each.
const CONTAINERS: u32 = 100;
const POD: &str = "kubepods.slice/kubepods-burstable.slice/\
                   kubepods-burstable-pod8fd4bc31_4e7c_4f40_a1b2_d1d57f0e0c11.slice";
/// A handshake by a thread with a name of its own, in a process that ends at once: PORT.
const NAMED_THREAD: &str = "
import ctypes, os, socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
def handshake():
    ctypes.CDLL(None).prctl(15, b'MainThread', 0, 0, 0)
    tcp = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
    context.wrap_socket(tcp)
    os._exit(0)
threading.Thread(target=handshake).start()
";

/// A curl that makes one handshake with the server at this port.
fn curl(port: u16) -> Vec<String> {
    let url = format!("https://127.0.0.1:{port}/");
    [
        "curl",
        "--silent",
        "--insecure",
        "--output",
        "/dev/null",
        &url,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// First digits of the ID of a container, as the agent shows them.
fn short_id(number: u32) -> String {
    format!("{number:012x}")
}

/// Runs a client in `count` containers, one after the other, each of which is removed at once.
fn run_in_containers(count: u32, client: impl Fn(&mut Command)) {
    for number in 1..=count {
        let id = format!("{}{}", short_id(number), "0".repeat(52));
        let container = Cgroup::new(&format!("{POD}/cri-containerd-{id}.scope"));
        let mut command = container.command();
        client(&mut command);
        run(command.stdin(Stdio::null()));
        let path = container.path().to_owned();
        drop(container);
        assert!(!path.exists(), "{} remains", path.display());
    }
}

/// Asserts that each container has one handshake as a client, and nobody else any.
fn assert_one_each(agent: &Agent, before: &Metrics) {
    let mut expected = Expected::default();
    for number in 1..=CONTAINERS {
        let container = short_id(number);
        expected.add(FAMILY, &[("container", container.as_str())], 1);
    }
    expected.add(FAMILY, &[], CONTAINERS);
    expected.assert_counted(agent, before);
}

/// Asserts that each container owns the handshake of the client that runs in it: the words that
/// `client` returns for the port of the server.
fn assert_containers_own(client: impl FnOnce(u16) -> Vec<String>) {
    let server = Server::s_server(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let words = client(server.port);
    run_in_containers(CONTAINERS, |command| {
        command.args(&words);
    });
    assert_one_each(&agent, &before);
    agent.assert_healthy();
}

#[test]
fn a_container_that_lives_for_one_handshake_is_its_owner() {
    assert_containers_own(curl);
}

/// GnuTLS has no probes: the socket of each packet names the cgroup.
#[test]
fn a_container_whose_handshake_only_its_packets_show_is_its_owner() {
    assert_containers_own(|port| {
        let port = port.to_string();
        ["gnutls-cli", "--insecure", "--port", &port, "127.0.0.1"]
            .map(str::to_owned)
            .to_vec()
    });
}

#[test]
fn a_thread_with_another_name_counts_for_its_process() {
    let server = Server::s_server(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    for _ in 0..10 {
        let mut command = Command::new(PYTHON);
        run(command.args(["-c", NAMED_THREAD, &server.port.to_string()]));
    }
    let mut expected = Expected::default();
    expected
        .add(FAMILY, &[("workload", "python3")], 10)
        .add(FAMILY, &[], 10)
        .assert_counted(&agent, &before);
    agent.assert_healthy();
}

/// The recording has the owners: the containers are gone when it is replayed.
#[test]
fn a_replay_has_the_owners() {
    const COUNT: u32 = 5;
    let directory = user::directory();
    let path = directory.path().join("events");
    let server = Server::s_server(Sessions::Tickets);
    let curl = curl(server.port);
    let replayed = || {
        let output = command([
            OsStr::new("replay"),
            path.as_os_str(),
            OsStr::new("--metrics"),
        ]);
        Metrics::parse(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default()
    };
    let mut recorder = Process::spawn(&mut recorder(&path));
    poll_until("a handshake is recorded", DEADLINE, || {
        run(Command::new(&curl[0]).args(&curl[1..]));
        match replayed().sum(FAMILY, &[]) {
            0.0 => Err(recorder.stderr()),
            _ => Ok(()),
        }
    });
    run_in_containers(COUNT, |command| {
        command.args(&curl);
    });
    recorder.signal(Signal::SIGTERM);
    let (status, _) = recorder.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "stderr: {}", recorder.stderr());
    let replayed = replayed();
    for number in 1..=COUNT {
        let container = short_id(number);
        let count = replayed.sum(FAMILY, &[("container", container.as_str())]);
        assert_eq!(count, 1.0, "{container}: {}", replayed.show(FAMILY));
    }
}

#[test]
fn the_status_says_how_owners_are_looked_up() {
    let agent = Agent::start(NO_ARGUMENTS);
    poll_until("the cgroups are counted", DEADLINE, || {
        let known = agent
            .metrics()
            .sum("reprise_tracked", &[("table", "cgroups")]);
        match known {
            2.0.. => Ok(()),
            known => Err(known.to_string()),
        }
    });
    let status = agent.get("/api/v1/status").expect("no status").body;
    let expected = "\"owner_lookup\":\"cgroup IDs in events, paths from the kernel";
    assert!(status.contains(expected), "{status}");
}
