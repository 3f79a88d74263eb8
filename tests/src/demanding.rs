//! Servers with a requirement that the common client of these tests does not meet, so that
//! handshakes fail.

use std::process::Command;

use crate::certificates::ec;
use crate::process::PYTHON;
use crate::servers::{Server, Sessions, Tuning};

/// Requirement of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A client certificate.
    Certificate,
    /// The name of a server that it serves.
    KnownName,
    /// The next bytes within a second.
    Haste,
}

/// Starts a server with such a requirement; `None` if it has no such setting or completes the
/// handshake regardless.
pub type Make = fn(Demand, Sessions) -> Option<Server>;

/// All kinds of servers.
pub const ALL: [Make; 5] = [haproxy, nginx, stunnel, python, s_server];

/// Starts servers that get the same request and complete the handshake regardless.
///
/// nginx reports the missing certificate over HTTP; stunnel uses its first service for unknown
/// names.
#[must_use]
pub fn lenient(sessions: Sessions) -> [Server; 2] {
    let ca = ec().cert.display();
    let certificate = format!("ssl_verify_client on; ssl_client_certificate {ca};");
    [
        Server::nginx_with(sessions, &certificate),
        Server::stunnel(sessions),
    ]
}

fn haproxy(demand: Demand, sessions: Sessions) -> Option<Server> {
    let ca = ec().cert.display();
    Some(match demand {
        Demand::Certificate => {
            let bind = format!("verify required ca-file {ca}");
            let tuning = Tuning {
                bind: &bind,
                ..Tuning::default()
            };
            Server::haproxy_tuned(sessions, &tuning)
        }
        Demand::KnownName => {
            let tuning = Tuning {
                bind: "strict-sni",
                ..Tuning::default()
            };
            Server::haproxy_tuned(sessions, &tuning)
        }
        Demand::Haste => Server::haproxy_with(sessions, "  timeout client 1s"),
    })
}

fn nginx(demand: Demand, sessions: Sessions) -> Option<Server> {
    let extra = match demand {
        // Completes the handshake regardless; see [`lenient`].
        Demand::Certificate => return None,
        Demand::KnownName => "ssl_reject_handshake on;",
        Demand::Haste => "client_header_timeout 1s;",
    };
    Some(Server::nginx_with(sessions, extra))
}

fn stunnel(demand: Demand, sessions: Sessions) -> Option<Server> {
    let extra = match demand {
        Demand::Certificate => format!("verifyChain = yes\nCAfile = {}\n", ec().cert.display()),
        // Completes the handshake regardless; see [`lenient`].
        Demand::KnownName => return None,
        Demand::Haste => "TIMEOUTbusy = 1\n".to_owned(),
    };
    Some(Server::stunnel_with(sessions, &extra))
}

fn python(demand: Demand, sessions: Sessions) -> Option<Server> {
    let ca = ec().cert.display().to_string();
    let extra: &[&str] = match demand {
        Demand::Certificate => &["--client-ca", &ca],
        Demand::KnownName => &["--refuse-names"],
        Demand::Haste => &["--timeout", "1"],
    };
    let python = &mut Command::new(PYTHON);
    Some(Server::python_with(sessions, "127.0.0.1", python, extra))
}

fn s_server(demand: Demand, sessions: Sessions) -> Option<Server> {
    let mut command = Command::new("openssl");
    let (cert, key) = (&ec().cert, &ec().key);
    Some(match demand {
        Demand::Certificate => Server::s_server_with(sessions, &mut command, |s_server| {
            s_server.args(["-Verify", "1", "-verify_return_error", "-CAfile"]);
            s_server.arg(cert);
        }),
        Demand::KnownName => Server::s_server_with(sessions, &mut command, |s_server| {
            s_server.args(["-servername", "localhost", "-servername_fatal"]);
            s_server.arg("-cert2").arg(cert).arg("-key2").arg(key);
        }),
        // It has no timeout.
        Demand::Haste => return None,
    })
}
