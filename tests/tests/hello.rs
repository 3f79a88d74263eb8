//! What clients offer to resume, and handshakes that only the wire shows, equal what the clients themselves report.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use reprise_tests::certificates::ec;
use reprise_tests::http;
use reprise_tests::namespaces::{Namespaces, SERVER_IP};
use reprise_tests::process::{PYTHON, Process, run};
use reprise_tests::relay::trickle;
use reprise_tests::servers::{Sessions, free_port};
use reprise_tests::truth::{Expected, assert_nothing_lost};
use reprise_tests::{Agent, Client, Report, Server};

const NO_ARGUMENTS: [&str; 0] = [];
const OFFERS: &str = "reprise_resumption_offers_total";
const NOT_OFFERED: &str = "reprise_resumption_not_offered_total";
const CONFLICTS: &str = "reprise_evidence_conflicts_total";
const HANDSHAKES: &str = "reprise_handshakes_total";
const FAILURES: &str = "reprise_handshake_failures_total";

/// The mechanism that clients of such a server use.
const fn mechanism(sessions: Sessions) -> &'static str {
    match sessions {
        Sessions::Ids => "session_id",
        Sessions::Tickets => "psk",
        Sessions::OldTickets => "ticket",
    }
}

/// Demands for both roles what a client says of its offers, and no disagreement.
fn expect_offers(
    expected: &mut Expected,
    sessions: Sessions,
    accepted: u32,
    missed: u32,
    none: u32,
) {
    for role in ["server", "client"] {
        for (outcome, count) in [("accepted", accepted), ("missed", missed)] {
            let labels = [
                ("role", role),
                ("mechanism", mechanism(sessions)),
                ("outcome", outcome),
            ];
            expected.add(OFFERS, &labels, count);
        }
        expected.add(OFFERS, &[("role", role)], accepted + missed);
        expected.add(NOT_OFFERED, &[("role", role)], none);
    }
    expected.add(CONFLICTS, &[], 0);
}

fn expect_report(expected: &mut Expected, sessions: Sessions, report: &Report) {
    let accepted = report.total(|row| row.resumed);
    let offered = report.total(|row| row.offered);
    let completed = report.total(|row| row.full + row.resumed);
    expect_offers(
        expected,
        sessions,
        accepted,
        offered - accepted,
        completed - offered,
    );
}

/// Everything that a server takes back.
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
        expected.hold(&agent, &before);
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
        expected.hold(&agent, &before);
    }
}

#[test]
fn a_client_hello_in_tiny_pieces() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::haproxy(sessions);
        let agent = Agent::start(NO_ARGUMENTS);
        let before = agent.metrics();
        // The relay's own sockets show the same handshakes, which are not its own.
        let relay = trickle(server.port);
        let report = Client::new(relay).with("--connections", "20").run();
        let mut expected = Expected::default();
        expected.add(HANDSHAKES, &[], 40).add(FAILURES, &[], 0);
        expect_report(&mut expected, sessions, &report);
        expected.hold(&agent, &before);
    }
}

#[test]
fn first_data_ahead_of_the_socket() {
    let mut command = Command::new(PYTHON);
    // As Apache does: the ClientHello completes the TCP handshake.
    let server = Server::python_with(Sessions::Tickets, "127.0.0.1", &mut command, &["--defer"]);
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let report = Client::new(server.port).connections(30).run();
    let mut expected = Expected::default();
    expected.add_report(&server, &report);
    expect_report(&mut expected, Sessions::Tickets, &report);
    expected.hold(&agent, &before);
}

/// `s_client` with a ClientHello of more than 2,000 bytes, a session kept in `file`; true where it says that it resumed.
fn s_client(words: &[&str], connect: &str, file: &str, offer: bool) -> bool {
    let names: Vec<_> = (0..60)
        .map(|n| format!("a-protocol-that-nobody-speaks-{n:04}"))
        .collect();
    let mut command = Command::new(words.first().unwrap_or(&"openssl"));
    command.args(words.get(1..).unwrap_or_default());
    if !words.is_empty() {
        command.arg("openssl");
    }
    command.args(["s_client", "-connect", connect, "-servername", "localhost"]);
    command.args(["-alpn", &names.join(","), "-sess_out", file, "-ign_eof"]);
    if offer {
        command.args(["-sess_in", file]);
    }
    // A request, so that the ticket is read before the end.
    let request = std::env::temp_dir().join(format!("reprise-request-{}", std::process::id()));
    std::fs::write(&request, "GET / HTTP/1.0\r\n\r\n").expect("failed to write a request");
    command.stdin(std::fs::File::open(&request).expect("failed to open the request"));
    let output = run(&mut command);
    let resumed = output.contains("Reused, TLSv1.");
    assert!(resumed || output.contains("New, TLSv1."), "{output}");
    resumed
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
        let accept = format!("[::]:{port}");
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
        command.args(["-accept", &accept, "-cert"]).arg(&ec().cert);
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
        expected.hold(&agent, &before);
        assert_nothing_lost(&agent.metrics());
    }
}

/// Waits until `server` listens on IPv6, in its own network namespace.
fn wait_listening_on_both(server: &Process, port: u16) {
    let path = format!("/proc/{}/net/tcp6", server.pid());
    reprise_tests::poll::poll_until("the server listens", reprise_tests::poll::PATIENCE, || {
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
fn gnutls_is_seen_on_the_wire() {
    let (port, agent) = (free_port(), Agent::start(NO_ARGUMENTS));
    let mut command = Command::new("gnutls-serv");
    command.args(["--http", "--quiet", "--port", &port.to_string()]);
    command.arg("--x509certfile").arg(&ec().cert);
    let mut server = Process::spawn(command.arg("--x509keyfile").arg(&ec().key));
    server.wait_listening(port);
    let before = agent.metrics();
    let mut expected = Expected::default();
    for (priority, version, sessions) in [
        ("NORMAL", "1.3", Sessions::Tickets),
        ("NORMAL:-VERS-TLS1.3", "1.2", Sessions::OldTickets),
        ("NORMAL:-VERS-TLS1.3:%NO_TICKETS", "1.2", Sessions::Ids),
    ] {
        // Connects, and connects again with what it got.
        let mut client = Command::new("gnutls-cli");
        client.args(["--insecure", "--resume", "--priority", priority, "--port"]);
        let output = run(client.args([&port.to_string(), "127.0.0.1"]));
        assert!(output.contains("This is a resumed session"), "{output}");
        for role in ["server", "client"] {
            for resumption in ["full", "resumed"] {
                let labels = [
                    ("role", role),
                    ("version", version),
                    ("resumption", resumption),
                ];
                expected.add(HANDSHAKES, &labels, 1);
            }
        }
        expect_offers(&mut expected, sessions, 1, 0, 1);
    }
    expected.add(HANDSHAKES, &[], 12).add(FAILURES, &[], 0);
    expected.hold(&agent, &before);
    // The server's certificate is nobody's friend: the client says so in an alert.
    let refused = Command::new("gnutls-cli")
        .args(["--port", &port.to_string(), "127.0.0.1"])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("failed to start gnutls-cli");
    assert!(!refused.status.success(), "{refused:?}");
    for (role, cause) in [("server", "alert_received"), ("client", "alert_sent")] {
        expected.add(FAILURES, &[("role", role), ("cause", cause)], 1);
    }
    expected.add(FAILURES, &[], 2).hold(&agent, &before);
    let wire = [("library", "wire")];
    let metrics = agent.metrics();
    assert_eq!(metrics.sum("reprise_library_info", &wire), 1.0);
    assert_nothing_lost(&metrics);
}

#[test]
fn rustls_is_seen_on_the_wire() {
    let agent = Agent::start(NO_ARGUMENTS);
    let before = agent.metrics();
    let mut expected = Expected::default();
    for (version, label, sessions) in [
        (&rustls_pair::TLS13, "1.3", Sessions::Tickets),
        (&rustls_pair::TLS12, "1.2", Sessions::Ids),
    ] {
        let (full, resumed) = rustls_pair::handshakes(version, 12);
        assert_eq!((full, resumed), (1, 11));
        for role in ["server", "client"] {
            for (resumption, count) in [("full", full), ("resumed", resumed)] {
                let labels = [
                    ("role", role),
                    ("version", label),
                    ("resumption", resumption),
                ];
                expected.add(HANDSHAKES, &labels, count);
            }
        }
        expect_offers(&mut expected, sessions, resumed, 0, full);
    }
    expected.add(FAILURES, &[], 0).hold(&agent, &before);
}

/// A rustls server and client in this process.
mod rustls_pair {
    use super::{TcpListener, TcpStream, ec};
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    pub(crate) use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConfig,
        ServerConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    };

    /// Trusts whom it is told to talk to.
    #[derive(Debug)]
    struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }

    /// Full and resumed handshakes, in the client's own words.
    pub(crate) fn handshakes(
        version: &'static SupportedProtocolVersion,
        connections: u32,
    ) -> (u32, u32) {
        let provider = Arc::new(default_provider());
        let cert = CertificateDer::from_pem_file(&ec().cert).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&ec().key).expect("a key");
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![cert], key)
            })
            .expect("a server");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a client")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        let (server, client) = (Arc::new(server), Arc::new(client));
        let listener = TcpListener::bind("127.0.0.1:0").expect("failed to bind any port");
        let address = listener.local_addr().expect("a bound address");
        let (mut full, mut resumed) = (0, 0);
        for _ in 0..connections {
            let server = Arc::clone(&server);
            let listener = listener.try_clone().expect("a listener");
            let serving = std::thread::spawn(move || {
                let (tcp, _) = listener.accept().expect("a connection");
                let tls = ServerConnection::new(server).expect("a connection");
                let mut tls = StreamOwned::new(tls, tcp);
                let mut word = [0; 4];
                tls.read_exact(&mut word).expect("a request");
                tls.write_all(b"pong").expect("to answer");
                tls.conn.send_close_notify();
                tls.flush().expect("to close");
            });
            let tcp = TcpStream::connect(address).expect("to connect");
            let name = ServerName::try_from("localhost").expect("a name");
            let tls = ClientConnection::new(Arc::clone(&client), name).expect("a connection");
            let mut tls = StreamOwned::new(tls, tcp);
            tls.write_all(b"ping").expect("to ask");
            let mut answer = Vec::new();
            tls.read_to_end(&mut answer).expect("an answer");
            serving.join().expect("the server");
            match tls.conn.handshake_kind() {
                Some(HandshakeKind::Resumed) => resumed += 1,
                Some(_) => full += 1,
                None => panic!("no handshake"),
            }
        }
        (full, resumed)
    }
}

#[test]
fn what_is_no_tls_is_left_alone() {
    let agent = Agent::start(NO_ARGUMENTS);
    let read = || {
        let events = [("sensor", "hello")];
        agent.metrics().sum("reprise_events_total", &events)
    };
    let before = read();
    for _ in 0..50 {
        let page = http::request(agent.address, "GET", "/metrics", "*/*");
        assert!(page.is_ok_and(|page| page.status == 200));
    }
    assert_eq!(read(), before);
}
