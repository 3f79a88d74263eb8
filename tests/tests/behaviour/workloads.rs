//! Handshakes are counted by the workload of the process: container, systemd unit, or process name.

use std::process::Command;

use reprise_tests::carriers::wheel::Wheel;
use reprise_tests::cgroup::Cgroup;
use reprise_tests::container::Container;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::PYTHON;
use reprise_tests::programs::native::Native;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const FAMILY: &str = "reprise_workload_handshakes_total";
const NO_ARGUMENTS: [&str; 0] = [];
/// Where a user's manager creates control groups of any name, from the tests' cgroup.
const USER: &str = "../user.slice/user-64321.slice/user@64321.service";

#[test]
fn containers_units_and_processes_are_named() {
    let id = "5f".repeat(32);
    for (cgroup, workload) in [
        (Some(format!("docker-{id}.scope")), "container/5f5f5f5f5f5f"),
        (Some("payments.service".to_owned()), "payments.service"),
        (Some("batch/payments.service".to_owned()), "python3"),
        (
            Some(format!("{USER}/payments.service")),
            "user@64321.service/payments.service",
        ),
        (
            Some(format!("{USER}/system.slice/docker-{id}.scope")),
            "user@64321.service/container/5f5f5f5f5f5f",
        ),
        (None, "python3"),
    ] {
        let cgroup = cgroup.map(|name| Cgroup::new(&name));
        let mut command = match &cgroup {
            Some(cgroup) => cgroup.python(),
            None => Command::new(PYTHON),
        };
        let server = Server::python_under(Sessions::Tickets, "127.0.0.1", &mut command);
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        let report = Client::new(server.port).connections(30).run();
        report.assert_mixed(30);
        let (full, resumed) = (
            report.total(|row| row.full),
            report.total(|row| row.resumed),
        );
        let ends = [("server", workload), ("client", "python3")];
        let mut expected = counted(server.port, full, resumed, ends);
        expected
            .add(FAMILY, &[], 2 * (full + resumed))
            .assert_counted(&agent, &before);
    }
}

/// The same handshakes at both ends, each counted for the workload of its role.
fn counted(port: u16, full: u32, resumed: u32, ends: [(&str, &str); 2]) -> Expected {
    let port = port.to_string();
    let mut expected = Expected::default();
    for (role, workload) in ends {
        for (resumption, count) in [("full", full), ("resumed", resumed)] {
            let labels = [
                ("workload", workload),
                ("port", port.as_str()),
                ("role", role),
                ("resumption", resumption),
            ];
            expected.add(FAMILY, &labels, count);
        }
    }
    expected
}

/// Each program has its own libssl: Debian's for glibc, a Python wheel's for musl.
#[test]
fn containers_of_different_images_are_separate_workloads() {
    let wheel = Wheel {
        project: "psycopg2-binary",
        // The last version that Debian 12's musl can load: later ones have relative relocations
        // (RELR).
        version: "2.9.9",
        platform: "musllinux_1_1_x86_64",
        python: "311",
    };
    let libssl = wheel.file(&["libssl"]);
    let libraries = libssl.parent().expect("a file is in a directory");
    let images = [
        ("7a", Native::for_glibc(), &["ldd"][..]),
        (
            "8b",
            Native::for_musl(libraries, &libssl),
            &["/lib/ld-musl-x86_64.so.1", "--list"][..],
        ),
    ];
    let server = Server::python(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let attached = || {
        let labels = [("probe", "hs_enter"), ("verdict", "attached")];
        agent.metrics().sum("reprise_probe_attached", &labels)
    };
    for (digits, program, loader) in &images {
        let before = attached();
        let container = Container::new(&digits.repeat(32), program, loader);
        let holder = container.start_idle();
        poll_until("its library is attached", DEADLINE, || match attached() {
            now if now > before => Ok(()),
            now => Err(format!("{now}; stderr: {}", agent.stderr())),
        });
        let before = agent.metrics();
        // Runs long enough for the agent to look it up.
        let counts = container.connect(server.port, 200);
        assert_eq!(counts.full + counts.resumed, 200);
        assert!(counts.resumed > 0, "{counts:?}");
        let workload = format!("container/{}", digits.repeat(6));
        let ends = [("client", workload.as_str()), ("server", "python3")];
        let mut expected = counted(server.port, counts.full, counts.resumed, ends);
        expected
            .add(FAMILY, &[], 400)
            .assert_counted(&agent, &before);
        drop(holder);
    }
}

#[test]
fn workloads_beyond_the_limit_are_other() {
    let servers = [(); 3].map(|()| Server::python(Sessions::Tickets));
    let agent = Agent::start(["--max-workloads", "2"]);
    let before = agent.metrics();
    for server in &servers {
        let report = Client::new(server.port).with("--connections", "5").run();
        assert_eq!(report.total(|row| row.full + row.resumed), 5, "{report:?}");
    }
    let mut expected = Expected::default();
    expected
        .add(FAMILY, &[], 30)
        .assert_counted(&agent, &before);
    let metrics = agent.metrics();
    let named = metrics.matching(FAMILY, &[("workload", "python3")]);
    // Each workload has two kinds of handshakes.
    assert!(named.count() <= 4, "{}", metrics.show("workload"));
    assert!(metrics.sum(FAMILY, &[("workload", "other"), ("port", "other")]) >= 20.0);
}
