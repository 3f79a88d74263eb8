//! Kernel events about the ends of processes, sessions and connections.

use std::{fs, path::PathBuf, process::Command};

use nix::sys::signal::Signal;
use reprise_ebpf::{
    Header,
    handshake::{
        ALERT, AlertEvent, EXIT, ExitEvent, FORGET, ForgetEvent, HANDSHAKE, HandshakeEvent, flag,
        forgot, role, shutdown,
    },
};
use reprise_tests::agent::recorder;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::{free_port, listen};
use reprise_tests::process::Process;
use reprise_tests::servers::Sessions;
use reprise_tests::{Agent, Client, Server, certificates, user};
use tempfile::TempDir;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// A Python server that frees its connections without `close_notify`, or sends it with `unwrap`.
const SERVER: &str = r#"
import socket, ssl, sys
port, cert, key, clean = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "clean"
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.options |= ssl.OP_NO_TICKET
listener = socket.create_server(("127.0.0.1", port))
while True:
    connection, _ = listener.accept()
    try:
        tls = context.wrap_socket(connection, server_side=True)
        while tls.recv(100):
            tls.sendall(b"ok")
        if clean:
            tls.unwrap()
    except OSError:
        pass
    tls.close()
    del tls
"#;

/// A TLS 1.3 client that sends `close_notify`.
const CLIENT: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_3
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    tls = context.wrap_socket(plain)
    try:
        tls.sendall(b"hello\n")
        tls.recv(100)
        tls.unwrap()
    except OSError as error:
        print(error)
"#;

/// A running `reprise record`.
struct Recorder {
    process: Process,
    path: PathBuf,
    _directory: TempDir,
}

impl Recorder {
    /// Starts a recorder and waits until it has recorded a handshake on `port`, which `connect`
    /// makes.
    fn start(connect: impl Fn()) -> Self {
        let directory = user::directory();
        let path = directory.path().join("events");
        let process = Process::spawn(&mut recorder(&path));
        let mut recorder = Self {
            process,
            path,
            _directory: directory,
        };
        poll_until("a handshake is recorded", DEADLINE, || {
            assert!(
                recorder.process.exit_status().is_none(),
                "{}",
                recorder.process.stderr()
            );
            connect();
            match recorder.events::<HandshakeEvent>(HANDSHAKE).len() {
                0 => Err(recorder.process.stderr()),
                _ => Ok(()),
            }
        });
        recorder
    }

    /// Returns the recorded events of one kind. A recording has a line with the magic string, then
    /// frames of length, tag and payload.
    fn events<T: FromBytes + KnownLayout + Immutable>(&self, kind: u32) -> Vec<T> {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let start = bytes.iter().position(|&byte| byte == b'\n');
        let mut rest = start.map_or(&[][..], |at| &bytes[at + 1..]);
        let mut events = Vec::new();
        while let Some((length, frame)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let (Some(tag), Some(payload)) = (frame.first(), frame.get(1..=length)) else {
                break;
            };
            let header = Header::read_from_prefix(payload);
            if *tag == b'E' && header.is_ok_and(|(header, _)| header.kind == kind) {
                let (event, _) = T::read_from_prefix(payload).expect("a whole event");
                events.push(event);
            }
            rest = &frame[1 + length..];
        }
        events
    }

    fn finish(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let (status, _) = self.process.wait(DEADLINE);
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
    }
}

fn python(program: &str, arguments: &[&str]) -> Process {
    Process::spawn(
        Command::new("python3")
            .args(["-c", program])
            .args(arguments),
    )
}

/// Runs the client; returns its process and its output.
fn connect(port: u16) -> (u32, String) {
    let mut client = python(CLIENT, &[&port.to_string()]);
    let pid = client.pid();
    client.wait(DEADLINE);
    (pid, client.stdout())
}

#[test]
fn the_end_of_a_tls_process_is_recorded_once() {
    let server = Server::haproxy(Sessions::Ids);
    let mut recorder = Recorder::start(|| {
        let _ = Client::new(server.port).once_from("127.0.0.97").run();
    });
    let mut client = Client::new(server.port).connections(4).spawn();
    let pid = client.pid();
    let (status, _) = client.wait(DEADLINE);
    assert!(status.success(), "stderr: {}", client.stderr());
    assert!(Command::new("true").status().expect("runs").success());
    let ended = |recorder: &Recorder| -> Vec<u32> {
        let events = recorder.events::<ExitEvent>(EXIT);
        events.iter().map(|event| event.tgid).collect()
    };
    poll_until("the end is recorded", DEADLINE, || {
        let ended = ended(&recorder);
        let known = ended.contains(&pid).then_some(());
        known.ok_or(format!("{pid} {ended:?}"))
    });
    drop(server);
    recorder.finish();
    let ended = ended(&recorder);
    assert_eq!(
        ended.iter().filter(|&&it| it == pid).count(),
        1,
        "{ended:?}"
    );
    let drove: Vec<u32> = recorder
        .events::<HandshakeEvent>(HANDSHAKE)
        .iter()
        .map(|event| event.tgid)
        .collect();
    let unknown: Vec<_> = ended.iter().filter(|tgid| !drove.contains(tgid)).collect();
    assert!(unknown.is_empty(), "{unknown:?} drove no handshake");
}

#[test]
fn a_removed_session_names_the_side_that_did_not_send_close_notify() {
    let certificate = certificates::ec();
    let files = [&certificate.cert, &certificate.key].map(|file| file.display().to_string());
    let start = |how: &str| {
        let port = free_port();
        let server = python(SERVER, &[&port.to_string(), &files[0], &files[1], how]);
        (port, server)
    };
    let (unclean, unclean_server) = start("unclean");
    let (clean, clean_server) = start("clean");
    let mut recorder = Recorder::start(|| {
        connect(unclean);
        connect(clean);
    });
    for _ in 0..3 {
        connect(unclean);
        connect(clean);
    }
    let removed = |recorder: &Recorder, server: &Process| -> Vec<ForgetEvent> {
        let mut events = recorder.events::<ForgetEvent>(FORGET);
        events.retain(|event| event.tgid == server.pid());
        events
    };
    poll_until("removals are recorded", DEADLINE, || {
        let removed = removed(&recorder, &unclean_server);
        (removed.len() >= 3)
            .then_some(())
            .ok_or(format!("{removed:?}"))
    });
    recorder.finish();
    for event in removed(&recorder, &unclean_server) {
        assert_eq!(event.how, forgot::FREEING, "{event:?}");
        assert_eq!(event.shutdown, shutdown::RECEIVED, "{event:?}");
        assert_ne!(event.ssl, 0, "{event:?}");
    }
    assert_eq!(removed(&recorder, &clean_server), []);
}

#[test]
fn an_alert_right_after_completion_is_recorded_with_its_number() {
    let certificate = certificates::ec();
    let ports = [free_port(), free_port()];
    let servers = [("-Verify", ports[0]), ("-verify", ports[1])].map(|(verify, port)| {
        Process::spawn(
            Command::new("openssl")
                .args(["s_server", "-quiet", "-tls1_3", "-rev", verify, "1"])
                .args(["-accept", &format!("127.0.0.1:{port}"), "-cert"])
                .arg(&certificate.cert)
                .arg("-key")
                .arg(&certificate.key),
        )
    });
    let mut recorder = Recorder::start(|| {
        connect(ports[1]);
    });
    let (accepted, _) = connect(ports[1]);
    let (refused, output) = connect(ports[0]);
    assert!(output.contains("CERTIFICATE_REQUIRED"), "{output}");
    poll_until("the alert is recorded", DEADLINE, || {
        let alerts = recorder.events::<AlertEvent>(ALERT);
        let known = alerts.iter().any(|event| event.tgid == refused);
        known.then_some(()).ok_or(format!("{alerts:?}"))
    });
    recorder.finish();
    let alerts = recorder.events::<AlertEvent>(ALERT);
    assert!(
        alerts.iter().all(|event| event.tgid != accepted),
        "{alerts:?}"
    );
    let [alert] = alerts.as_slice() else {
        panic!("one connection was refused: {alerts:?}");
    };
    // certificate_required, RFC 8446, section 6.2.
    assert_eq!((alert.tgid, alert.alert), (refused, 116));
    assert_eq!(alert.role, u32::from(role::CLIENT));
    assert_eq!(alert.socket.remote_port, ports[0]);
    drop(servers);
}

#[test]
fn alerts_after_completion_are_counted_on_the_clients_host() {
    let certificate = certificates::ec();
    let port = free_port();
    let mut server = Process::spawn(
        Command::new("openssl")
            .args(["s_server", "-quiet", "-tls1_3", "-rev", "-Verify", "1"])
            .args(["-accept", &format!("127.0.0.1:{port}"), "-cert"])
            .arg(&certificate.cert)
            .arg("-key")
            .arg(&certificate.key),
    );
    server.wait_listening(port);
    let agent = Agent::start([""; 0]);
    agent.wait_libraries(1);
    let (_, said) = connect(port);
    assert!(said.contains("CERTIFICATE_REQUIRED"), "{said}");
    let family = "reprise_alerts_after_completion_total";
    poll_until("the alert is counted", DEADLINE, || {
        let metrics = agent.metrics();
        let refused = [("role", "client"), ("alert", "certificate_required")];
        let counts = [refused.as_slice(), &[]].map(|labels| metrics.sum(family, labels));
        let once = (counts == [1.0; 2]).then_some(());
        once.ok_or(metrics.show("reprise_alerts") + &agent.stderr())
    });
}

/// A Node program keeps TLS in memory BIOs: the library never uses the socket.
const NODE_CLIENT: &str = r"
const tls = require('tls');
const socket = tls.connect({ host: '127.0.0.1', port: Number(process.argv[1]), rejectUnauthorized: false });
socket.on('error', () => {});
socket.on('close', () => setTimeout(() => process.exit(0), 100));
";

#[test]
fn a_fin_before_the_answer_is_seen_by_a_program_with_memory_bios() {
    use std::io::Read as _;
    let server = Server::haproxy(Sessions::Ids);
    let mut recorder = Recorder::start(|| {
        let _ = Client::new(server.port).once_from("127.0.0.96").run();
    });
    let listener = listen();
    let port = listener.local_addr().expect("an address").port();
    let closing = std::thread::spawn(move || {
        // A FIN, not a reset: all that arrived was read.
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let _ = connection.read(&mut [0; 16_384]);
        }
    });
    let mut open_fins = 0;
    poll_until("a FIN is seen", DEADLINE, || {
        let mut node = Process::spawn(
            Command::new("node")
                .args(["-e", NODE_CLIENT])
                .arg(port.to_string()),
        );
        let pid = node.pid();
        node.wait(DEADLINE);
        open_fins += 1;
        let events = recorder.events::<HandshakeEvent>(HANDSHAKE);
        let mine: Vec<_> = events
            .iter()
            .filter(|it| it.socket.remote_port == port)
            .collect();
        let seen = mine.iter().any(|it| it.flags & flag::PEER_CLOSED != 0);
        seen.then_some(())
            .ok_or(format!("{open_fins} tries, last {pid}: {mine:?}"))
    });
    recorder.finish();
    drop(closing);
}
