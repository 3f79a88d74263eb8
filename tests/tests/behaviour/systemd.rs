//! The shipped systemd unit, run by systemd: the agent observes within the unit's sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use reprise_tests::client::hold_open;
use reprise_tests::manifests::deploy;
use reprise_tests::own_cgroup;
use reprise_tests::process::fixture;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::observe;
use reprise_tests::{Agent, Client, Server};

/// The agent looks for dead processes several times in this time.
const SWEEPS: Duration = Duration::from_secs(3);
/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN (include/uapi/linux/capability.h).
const NEEDED: [u64; 3] = [2, 19, 21];

/// A directory in the cgroup v2 hierarchy; removed with its subdirectories when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let root = own_cgroup::mount().expect("no cgroup v2 is mounted");
        let path = root.join(format!("reprise-test-{}", std::process::id()));
        fs::create_dir(&path).expect("failed to create a cgroup");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes subdirectories first; cgroup v2 permits no other order.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    // The last process may not have ended yet.
    for _ in 0..200 {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(16) => {
                thread::sleep(Duration::from_millis(10));
            }
            _ => break,
        }
    }
}

/// Returns a function that looks up `Key: value` in the status of the only process in the unit's
/// cgroup.
fn status(cgroup: &Cgroup) -> impl Fn(&str) -> String {
    let processes = cgroup.0.join("system.slice/reprise.service/cgroup.procs");
    let text = fs::read_to_string(&processes)
        .unwrap_or_else(|error| panic!("{}: {error}", processes.display()));
    let pids: Vec<_> = text.lines().collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
    let status =
        fs::read_to_string(format!("/proc/{}/status", pids[0])).expect("the process has ended");
    move |key| {
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        let value = value.unwrap_or_else(|| panic!("no {key} in {status}"));
        value.trim_start_matches(':').trim().to_owned()
    }
}

/// Returns the set of these capabilities in the format of `/proc`.
fn bits(numbers: &[u64]) -> String {
    let set = numbers.iter().fold(0_u64, |set, number| set | 1 << number);
    format!("{set:016x}")
}

/// Observes under the unit, optionally with a drop-in; `bounding` are the capabilities that remain
/// in the bounding set.
fn observes(drop_in: Option<&str>, bounding: &[u64]) {
    let deploy = |name: &str| deploy("systemd").join(name).display().to_string();
    let cgroup = Cgroup::new();
    let script = fixture("systemd.sh");
    let (unit, drop_in) = (deploy("reprise.service"), drop_in.map(deploy));
    let words = [
        "bash",
        script.to_str().expect("a path in UTF-8"),
        &unit,
        drop_in.as_deref().unwrap_or_default(),
        cgroup.0.to_str().expect("a path in UTF-8"),
    ];
    let agent = Agent::start_by(&words, [""; 0]);
    let server = Server::haproxy(Sessions::Ids);
    agent.wait_libraries(1);
    let client = Client::new(server.port).connections(30);
    observe(&agent, &server, &client, 30);

    // The server is in another PID namespace than the agent, which must not count it as ended.
    let _held = hold_open(server.port);
    thread::sleep(SWEEPS);
    let metrics = agent.metrics();
    let open = [("table", "open_handshakes")];
    assert_eq!(metrics.get("reprise_tracked", &open), Some(1.0));
    assert_eq!(metrics.sum("reprise_handshake_failures_total", &[]), 0.0);

    let status = status(&cgroup);
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(status("Seccomp"), "2", "not filtered");
    assert!(!status("Uid").starts_with('0'), "{}", status("Uid"));
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(status(set), bits(&NEEDED), "{set}");
    }
    assert_eq!(status("CapBnd"), bits(bounding));
    // Child processes of the agent would get no capability.
    assert_eq!(status("CapAmb"), bits(&[]));
    agent.assert_healthy();
    let stderr = agent.stderr();
    for message in [
        "failed to drop capabilities",
        "failed to install the seccomp filter",
    ] {
        assert!(!stderr.contains(message), "{stderr}");
    }
}

#[test]
fn the_unit_observes_in_its_sandbox() {
    observes(None, &NEEDED);
}

/// Capabilities for older kernels are dropped, except from the bounding set: that needs
/// CAP_SETPCAP, and no_new_privs has the same effect.
#[test]
fn the_unit_for_older_kernels_drops_its_extra_capability() {
    let net_admin = 12;
    let bounding = [&NEEDED[..], &[net_admin]].concat();
    observes(Some("kernels-before-6.9.conf"), &bounding);
}
