//! Offers of sessions and their outcomes equal the clients' own reports.

use std::ffi::OsStr;
use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::agent::{command, recorder};
use reprise_tests::certificates::ec;
use reprise_tests::namespaces::{Namespaces, SERVER_IP};
use reprise_tests::offers::{CONFLICTS, OFFERS, expect_offers, expect_report};
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::{PYTHON, Process, run};
use reprise_tests::relay::relay_in_pieces;
use reprise_tests::s_client::s_client;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, Client, Metrics, Server, user};

const NO_ARGUMENTS: [&str; 0] = [];
const HANDSHAKES: &str = "reprise_handshakes_total";
const FAILURES: &str = "reprise_handshake_failures_total";

/// Asserts that every offer to this kind of server is accepted.
fn offers_are_accepted(make: fn(Sessions) -> Server) {
    for sessions in [Sessions::Ids, Sessions::OldTickets, Sessions::Tickets] {
        let server = make(sessions);
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        let report = Client::new(server.port).connections(60).run();
        report.assert_mixed(60);
        assert!(report.total(|row| row.offered) >= 40, "{report:?}");
        let mut expected = Expected::default();
        expected.add_report(&server, &report).add(FAILURES, &[], 0);
        expect_report(&mut expected, sessions, &report);
        expected.assert_counted(&agent, &before);
        assert_nothing_lost(&agent.metrics());
    }
}

#[test]
fn haproxy_offers() {
    offers_are_accepted(Server::haproxy);
}

#[test]
fn nginx_offers() {
    offers_are_accepted(Server::nginx);
}

#[test]
fn python_offers() {
    offers_are_accepted(Server::python);
}

#[test]
fn sessions_of_another_server_are_missed() {
    for sessions in [Sessions::Ids, Sessions::OldTickets, Sessions::Tickets] {
        let (one, other) = (Server::haproxy(sessions), Server::haproxy(sessions));
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        let report = Client::new(one.port)
            .with("--other-port", other.port.to_string())
            .with("--connections", "40")
            .run();
        let (full, offered) = (
            report.total(|row| row.full),
            report.total(|row| row.offered),
        );
        assert_eq!((full, offered), (40, 32), "{report:?}");
        let mut expected = Expected::default();
        expected.add(HANDSHAKES, &[("resumption", "full")], 80);
        expected.add(HANDSHAKES, &[], 80);
        expect_report(&mut expected, sessions, &report);
        expected.assert_counted(&agent, &before);
    }
}

#[test]
fn a_client_hello_in_small_pieces() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::haproxy(sessions);
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        // The relay's own sockets carry the same handshakes, which must not be counted twice.
        let relay = relay_in_pieces(server.port);
        let report = Client::new(relay).with("--connections", "20").run();
        let mut expected = Expected::default();
        expected.add(HANDSHAKES, &[], 40).add(FAILURES, &[], 0);
        expect_report(&mut expected, sessions, &report);
        expected.assert_counted(&agent, &before);
    }
}

#[test]
fn data_before_the_socket_exists() {
    let mut command = Command::new(PYTHON);
    // Like Apache: the ClientHello completes the TCP handshake.
    let server = Server::python_with(Sessions::Tickets, "127.0.0.1", &mut command, &["--defer"]);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let report = Client::new(server.port).connections(30).run();
    let mut expected = Expected::default();
    expected.add_report(&server, &report);
    expect_report(&mut expected, Sessions::Tickets, &report);
    expected.assert_counted(&agent, &before);
}

#[test]
fn client_hellos_of_several_segments_over_both_families() {
    let directory = tempfile::TempDir::new().expect("failed to create a directory");
    let file = directory.path().join("session").display().to_string();
    for sessions in [Sessions::OldTickets, Sessions::Tickets] {
        let net = Namespaces::new();
        for name in [&net.client, &net.server] {
            run(Command::new("ip").args(["-n", name, "link", "set", "v0", "mtu", "576"]));
        }
        let port = free_port();
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &net.server,
            "openssl",
            "s_server",
            "-www",
            "-quiet",
        ]);
        // Without an address: one socket for both families.
        command
            .args(["-accept", &port.to_string(), "-cert"])
            .arg(&ec().cert);
        command.arg("-key").arg(&ec().key);
        command.arg(if sessions == Sessions::Tickets {
            "-tls1_3"
        } else {
            "-tls1_2"
        });
        let server = Process::spawn(&mut command);
        wait_listening_on_both(&server, port);
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        let (inside, across) = (Namespaces::exec(&net.server), Namespaces::exec(&net.client));
        let (mut resumed, mut completed) = (0, 0);
        for (words, address) in [
            (&inside, format!("127.0.0.1:{port}")),
            (&inside, format!("[::1]:{port}")),
            (&across, format!("{SERVER_IP}:{port}")),
        ] {
            for offer in [false, true, true] {
                resumed += u32::from(s_client(words, &address, &file, offer));
                completed += 1;
            }
        }
        assert_eq!((resumed, completed), (6, 9));
        let mut expected = Expected::default();
        expected
            .add(HANDSHAKES, &[], 2 * completed)
            .add(FAILURES, &[], 0);
        expect_offers(&mut expected, sessions, resumed, 0, completed - resumed);
        expected.assert_counted(&agent, &before);
        assert_nothing_lost(&agent.metrics());
    }
}

/// Waits until `server` listens on IPv6 in its network namespace.
fn wait_listening_on_both(server: &Process, port: u16) {
    let path = format!("/proc/{}/net/tcp6", server.pid());
    poll_until("the server listens", DEADLINE, || {
        let table = std::fs::read_to_string(&path).unwrap_or_default();
        let listens = table.contains(&format!(":{port:04X} 00000000"));
        if listens {
            Ok(())
        } else {
            Err(server.stderr())
        }
    });
}

#[test]
fn recordings_contain_no_session() {
    let directory = user::directory();
    let path = directory.path().join("events");
    let file = directory.path().join("session").display().to_string();
    // Tickets begin with the name of their key, which is configured here.
    let name = b"REPRISE-STEK-123";
    let keys = directory.path().join("keys");
    std::fs::write(&keys, [&name[..], &[7; 64]].concat()).expect("failed to write a key");
    let server = Server::nginx_with(
        Sessions::OldTickets,
        &format!("ssl_session_ticket_key {};", keys.display()),
    );
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let mut recorder = Process::spawn(&mut recorder(&path));
    let address = format!("127.0.0.1:{}", server.port);
    let handshakes = [("version", "1.2"), ("role", "server")];
    let accepted = [
        ("mechanism", "ticket"),
        ("outcome", "accepted"),
        ("role", "server"),
    ];
    let replayed = || {
        let output = command([
            OsStr::new("replay"),
            path.as_os_str(),
            OsStr::new("--metrics"),
        ]);
        Metrics::parse(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default()
    };
    let mut made = 0;
    poll_until(
        "a full and a resumed handshake are recorded",
        DEADLINE,
        || {
            assert!(recorder.exit_status().is_none(), "{}", recorder.stderr());
            made += 1;
            // Alternates between full and resumed, since the recorder may be ready at any time.
            let _ = s_client(&[], &address, &file, made % 2 == 0);
            let page = replayed();
            let accepted = page.sum(OFFERS, &accepted);
            if accepted > 0.0 && page.sum(HANDSHAKES, &handshakes) > accepted {
                Ok(())
            } else {
                Err(page.show("handshakes"))
            }
        },
    );
    recorder.signal(Signal::SIGTERM);
    let (status, _) = recorder.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "stderr: {}", recorder.stderr());
    let mut expected = Expected::default();
    expected.add(HANDSHAKES, &handshakes, made);
    expected.assert_counted(&agent, &before);
    let page = replayed();
    assert_eq!(page.sum(CONFLICTS, &[]), 0.0);

    let recorded = std::fs::read(&path).expect("failed to read the recording");
    let holds = |secret: &[u8]| {
        recorded
            .windows(secret.len())
            .any(|window| window == secret)
    };
    assert!(!holds(name), "the recording contains a ticket");
    // OpenSSL's own description of the session.
    let text = run(Command::new("openssl").args(["sess_id", "-noout", "-text", "-in", &file]));
    let id = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Session-ID: "))
        .unwrap_or_default();
    let id: Vec<u8> = (0..id.len() / 2)
        .map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
        .collect();
    assert_eq!(id.len(), 32, "{text}");
    assert!(!holds(&id[..16]), "the recording contains a session ID");
    // The search itself works: it finds thread names.
    assert!(
        holds(b"nginx"),
        "the recording does not contain the server's name"
    );
}

#[test]
fn a_host_without_a_cgroup_mount() {
    let server = Server::python(Sessions::Tickets);
    let without =
        "awk '/ - cgroup2 /{print $5}' /proc/self/mountinfo | xargs -r -n1 umount -l; exec \"$@\"";
    let prefix = ["unshare", "--mount", "sh", "-c", without, "sh"];
    let agent = Agent::start_under(&prefix, NO_ARGUMENTS);
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", agent.pid()));
    assert!(!mounts.expect("the agent's mounts").contains(" - cgroup2 "));
    let before = agent.metrics();
    let report = Client::new(server.port).connections(12).run();
    let mut expected = Expected::default();
    expect_report(&mut expected, Sessions::Tickets, &report);
    expected.assert_counted(&agent, &before);
}
