//! Handshakes are counted by the owner of the process: container, systemd unit, or process name.

use std::process::Command;
use std::time::Duration;

use reprise_tests::carriers::wheel::Wheel;
use reprise_tests::cgroup::Cgroup;
use reprise_tests::container::Container;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::PYTHON;
use reprise_tests::programs::native::Native;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const SERVERS: &str = "reprise_service_handshakes_total";
const CLIENTS: &str = "reprise_client_handshakes_total";
const NO_ARGUMENTS: [&str; 0] = [];
/// Where a user's manager creates control groups of any name, from the tests' cgroup.
const USER: &str = "../user.slice/user-64321.slice/user@64321.service";

#[test]
fn containers_units_and_processes_are_named() {
    let id = "5f".repeat(32);
    for (cgroup, container, workload) in [
        (
            Some(format!("docker-{id}.scope")),
            "5f5f5f5f5f5f",
            "python3",
        ),
        (Some("payments.service".to_owned()), "", "payments.service"),
        (Some("batch/payments.service".to_owned()), "", "python3"),
        (
            Some(format!("{USER}/payments.service")),
            "",
            "user@64321.service/payments.service",
        ),
        (
            Some(format!("{USER}/system.slice/docker-{id}.scope")),
            "user@64321.service/5f5f5f5f5f5f",
            "python3",
        ),
        (None, "", "python3"),
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
        let ends = [(container, workload), ("", "python3")];
        counted(server.port, full, resumed, ends).assert_counted(&agent, &before);
    }
}

/// The same handshakes at both ends, the server's first, each counted for its container and
/// workload and for no other.
fn counted(port: u16, full: u32, resumed: u32, ends: [(&str, &str); 2]) -> Expected {
    let port = port.to_string();
    let mut expected = Expected::default();
    for (family, (container, workload)) in [SERVERS, CLIENTS].into_iter().zip(ends) {
        for (resumption, count) in [("full", full), ("resumed", resumed)] {
            let mut labels = vec![
                ("namespace", ""),
                ("pod", ""),
                ("container", container),
                ("workload", workload),
                ("resumption", resumption),
            ];
            if family == SERVERS {
                labels.push(("port", port.as_str()));
            }
            expected.add(family, &labels, count);
        }
        expected.add(family, &[], full + resumed);
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
        let id = digits.repeat(6);
        let ends = [("", "python3"), (id.as_str(), "client")];
        counted(server.port, counts.full, counts.resumed, ends).assert_counted(&agent, &before);
        drop(holder);
    }
}

#[test]
fn services_beyond_the_limit_are_other() {
    let servers = [(); 3].map(|()| Server::python(Sessions::Tickets));
    let agent = Agent::start(["--max-services", "2"]);
    let before = agent.metrics();
    for server in &servers {
        let report = Client::new(server.port).with("--connections", "5").run();
        assert_eq!(report.total(|row| row.full + row.resumed), 5, "{report:?}");
    }
    let mut expected = Expected::default();
    expected
        .add(SERVERS, &[], 15)
        .add(CLIENTS, &[("workload", "python3")], 15)
        .add("reprise_evictions_total", &[("table", "service_series")], 1)
        .assert_counted(&agent, &before);
    let metrics = agent.metrics();
    let named = metrics.matching(SERVERS, &[("workload", "python3")]);
    // Each service has two kinds of handshakes.
    assert!(named.count() <= 4, "{}", metrics.show("service"));
    let other = [
        ("namespace", "other"),
        ("pod", "other"),
        ("container", "other"),
        ("workload", "other"),
        ("port", "other"),
    ];
    assert_eq!(metrics.sum(SERVERS, &other), 5.0);
}

#[test]
fn series_without_a_handshake_end() {
    let server = Server::python(Sessions::Tickets);
    let agent = Agent::start(["--forget-after", "2s"]);
    let before = agent.metrics();
    let report = Client::new(server.port).with("--connections", "5").run();
    assert_eq!(report.total(|row| row.full + row.resumed), 5, "{report:?}");
    Expected::default()
        .add(SERVERS, &[], 5)
        .add(CLIENTS, &[], 5)
        .assert_counted(&agent, &before);
    let later = Duration::from_secs(10);
    poll_until("the series end", later, || {
        let metrics = agent.metrics();
        let left = [SERVERS, CLIENTS].map(|family| metrics.matching(family, &[]).count());
        match left {
            [0, 0] => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
    let metrics = agent.metrics();
    for table in ["service_series", "workloads"] {
        let forgotten = metrics.sum("reprise_forgotten_total", &[("table", table)]);
        assert_eq!(forgotten, 1.0, "{table}");
    }
    assert_eq!(metrics.sum("reprise_handshakes_total", &[]), 10.0);
}
