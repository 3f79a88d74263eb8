//! Privileges that the agent retains, and that they are enough. All other tests run the agent as a
//! user with the documented capabilities (`tests/src/user.rs`); here it is root.

use std::fs;
use std::process::Command;

use reprise_tests::libssl::Copy;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::PYTHON;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Server, user};

/// `CAP_DAC_READ_SEARCH`, `CAP_SYS_PTRACE` and `CAP_SYS_ADMIN` (include/uapi/linux/capability.h) in
/// the format of `/proc`.
const NEEDED: u64 = 1 << 2 | 1 << 19 | 1 << 21;

/// Root with all capabilities, as when started by hand.
#[test]
fn root_drops_privileges_and_continues_to_observe() {
    // A command that changes nothing.
    assert_drops_and_observes(&["env".to_owned()]);
}

/// Root as in a container of the manifests.
#[test]
fn root_with_the_documented_capabilities_observes() {
    assert_drops_and_observes(&user::confined_root());
}

fn assert_drops_and_observes(words: &[String]) {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let agent = Agent::start_by(&words, [""; 0]);
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("no tasks");
    let mut seen = 0;
    for task in tasks {
        let path = task.expect("no task").path().join("status");
        let status = fs::read_to_string(path).expect("no status");
        let line = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
            let found = lines.find(|(key, _)| *key == name);
            found.unwrap_or_else(|| panic!("no {name}: {status}")).1
        };
        let set = |name| u64::from_str_radix(line(name), 16).expect("no number");
        for name in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(set(name), NEEDED, "{name}: {status}");
        }
        for name in ["CapInh", "CapAmb"] {
            assert_eq!(set(name), 0, "{name}: {status}");
        }
        assert_eq!(line("Uid"), "0\t0\t0\t0");
        assert_eq!(line("NoNewPrivs"), "1");
        // SECCOMP_MODE_FILTER, include/uapi/linux/seccomp.h.
        assert_eq!(line("Seccomp"), "2");
        seen += 1;
    }
    assert!(
        seen >= 2,
        "the thread that looks for libraries is one of them"
    );
    // A library copied later has new processes, files and attach points.
    let libraries = || {
        let metrics = agent.metrics();
        metrics.sum(
            "reprise_probe_attached",
            &[("probe", "hs_enter"), ("verdict", "attached")],
        )
    };
    let before = libraries();
    let library = Copy::new();
    let mut python = Command::new(PYTHON);
    python.env("LD_LIBRARY_PATH", library.directory());
    let server = Server::python_under(Sessions::Tickets, "127.0.0.1", &mut python);
    poll_until("the library is attached", DEADLINE, || {
        let now = libraries();
        if now > before {
            Ok(())
        } else {
            Err(format!("{before}, then {now}"))
        }
    });
    warm_up(&agent, &server);
    observe(
        &agent,
        &server,
        &Client::new(server.port).connections(24),
        24,
    );
}
