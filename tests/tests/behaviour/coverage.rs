//! Observed and unobserved processes, and removal of probes with the last user of a file.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use reprise_tests::libssl::{Copy, system};
use reprise_tests::mounts::Mounted;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Server};
use serde_json::Value;
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];

fn assert_counts_match(agent: &Agent, server: &Server) {
    observe(agent, server, &Client::new(server.port).connections(40), 40);
    agent.assert_healthy();
}

fn server_from(directory: &Path) -> Server {
    let mut python = Command::new(PYTHON);
    Server::python_under(
        Sessions::Tickets,
        "127.0.0.1",
        python.env("LD_LIBRARY_PATH", directory),
    )
}

/// Starts a server in new mount and PID namespaces with `root` as its root directory.
fn contained(root: &Path) -> Server {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "chroot"]);
    command.arg(root).arg(PYTHON);
    Server::python_under(Sessions::Tickets, "127.0.0.1", &mut command)
}

/// Returns the number of library files with probes.
fn attached(agent: &Agent) -> f64 {
    let labels = [("probe", "hs_enter"), ("verdict", "attached")];
    agent.metrics().sum("reprise_probe_attached", &labels)
}

fn expect_attached(agent: &Agent, count: f64) {
    poll_until("so many library files have probes", DEADLINE, || {
        let have = attached(agent);
        if have == count {
            Ok(())
        } else {
            Err(format!("{have}, not {count}; {}", agent.stderr()))
        }
    });
}

#[test]
fn probes_are_removed_with_the_last_user() {
    let agent = Agent::start(NO_ARGUMENTS);
    let before = attached(&agent);
    let mounted = Mounted::tmpfs();
    let name = system().file_name().expect("has a name").to_owned();
    fs::copy(system(), mounted.at.join(name)).expect("failed to copy libssl");
    let (one, other) = (server_from(&mounted.at), server_from(&mounted.at));
    warm_up(&agent, &one);
    expect_attached(&agent, before + 1.0);
    drop(one);
    assert_counts_match(&agent, &other);
    expect_attached(&agent, before + 1.0);
    drop(other);
    // A probe keeps the file system of its file in use.
    mounted.release();
    expect_attached(&agent, before);
    agent.assert_healthy();
}

#[test]
fn containers_of_one_image_share_one_set_of_probes() {
    let agent = Agent::start(NO_ARGUMENTS);
    let before = attached(&agent);
    let image = Copy::new();
    let mounts = [(); 2].map(|()| Mounted::overlay(image.directory()));
    let [one, other] = [0, 1].map(|index| server_from(&mounts[index].at));
    warm_up(&agent, &one);
    warm_up(&agent, &other);
    assert_counts_match(&agent, &one);
    assert_counts_match(&agent, &other);
    assert_eq!(attached(&agent), before + 1.0);
    // The probes move to the other mount if they used this one.
    drop(one);
    mounts[0].release();
    warm_up(&agent, &other);
    assert_counts_match(&agent, &other);
    drop(other);
    mounts[1].release();
    expect_attached(&agent, before);
}

#[test]
fn containers_with_the_files_of_the_host() {
    let agent = Agent::start(NO_ARGUMENTS);
    let before = attached(&agent);
    let mounted = Mounted::overlay(Path::new("/"));
    let server = contained(&mounted.at);
    warm_up(&agent, &server);
    assert_counts_match(&agent, &server);
    assert_eq!(attached(&agent), before, "the same file behind");
    drop(server);
    mounted.release();
}

#[test]
fn a_library_in_anonymous_memory() {
    let agent = Agent::start(NO_ARGUMENTS);
    let mut command = Command::new(PYTHON);
    command.arg(fixture("memfd.py")).arg(system()).arg(PYTHON);
    let server = Server::python_under(Sessions::Tickets, "127.0.0.1", &mut command);
    warm_up(&agent, &server);
    assert_counts_match(&agent, &server);
}

#[test]
fn a_library_loaded_late() {
    let directory = TempDir::new().expect("failed to create a directory");
    let signal = directory.path().join("now");
    let copy = Copy::new();
    let library = copy.directory().to_owned();
    let mut command = Command::new(PYTHON);
    command
        .env("LD_LIBRARY_PATH", library)
        .arg(fixture("late.py"))
        .arg(&signal);
    let server =
        thread::spawn(move || Server::python_under(Sessions::Tickets, "127.0.0.1", &mut command));
    let agent = Agent::start(NO_ARGUMENTS);
    fs::write(&signal, "").expect("failed to write a file");
    let server = server.join().expect("the server did not start");
    warm_up(&agent, &server);
    assert_counts_match(&agent, &server);
}

/// Returns the entry of the process in `/api/v1/libraries` and the gauge of its reason.
fn uncovered(agent: &Agent, pid: u32) -> Option<(String, Value, f64)> {
    let body = agent.get("/api/v1/libraries").expect("no response").body;
    let body: Value = serde_json::from_str(&body).expect("no JSON");
    let rows = body["uncovered"].as_array().expect("no list");
    rows.iter().find_map(|row| {
        let examples = row["examples"].as_array().expect("no examples");
        let example = examples
            .iter()
            .find(|example| example["pid"].as_u64() == Some(u64::from(pid)))?;
        assert!(!row["remedy"].as_str().unwrap_or_default().is_empty());
        let reason = row["reason"].as_str().expect("no reason").to_owned();
        let gauge = agent
            .metrics()
            .sum("reprise_uncovered_processes", &[("reason", &reason)]);
        Some((reason, example.clone(), gauge))
    })
}

#[test]
fn unobserved_processes_are_listed_with_the_reason() {
    let directory = TempDir::new().expect("failed to create a directory");
    let ignored = directory.path().join("ignored");
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("no directory");
        fs::write(&path, bytes).expect("failed to write a file");
        path
    };
    let good = fs::read(system()).expect("failed to read libssl");
    // Field e_machine (gABI, chapter 4): 2 is SPARC.
    let mut foreign = good.clone();
    foreign[0x12] = 2;
    let symbols = b"crypto/tls.(*Conn).serverHandshake\0crypto/tls.(*Conn).clientHandshake";
    let padded = [symbols.as_slice(), &[0; 8192]].concat();
    let cases = [
        ("unsupported_build", file("x/libssl.so.3", &[0x5a; 8192])),
        ("foreign_machine", file("y/libssl.so.3", &foreign)),
        ("ignored", file("ignored/libssl.so.3", &good)),
        ("other_library", file("libgnutls.so.30", &padded)),
        ("other_library", file("program", &padded)),
    ];
    let agent = Agent::start(["--ignore".as_ref(), ignored.as_os_str()]);
    for (reason, path) in &cases {
        let process = Process::spawn(Command::new(PYTHON).arg(fixture("mapper.py")).arg(path));
        let pid = process.pid();
        poll_until("the process is named", DEADLINE, || {
            let Some((found, example, gauge)) = uncovered(&agent, pid) else {
                return Err(format!("{reason}: not listed; {}", agent.stderr()));
            };
            assert_eq!(&found, reason, "{path:?}: {example}");
            assert_eq!(example["file"].as_str(), path.to_str());
            assert!(!example["finding"].as_str().unwrap_or_default().is_empty());
            assert!(gauge >= 1.0, "{reason}: {gauge}");
            Ok(())
        });
        drop(process);
        poll_until("the process has ended", DEADLINE, || {
            match uncovered(&agent, pid) {
                None => Ok(()),
                Some(listed) => Err(format!("{listed:?}")),
            }
        });
    }
    agent.assert_healthy();
}
