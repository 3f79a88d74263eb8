//! Servers with a requirement that the common client of these tests does not meet, so that
//! handshakes fail.

use std::process::Command;

use crate::certificates::ec;
use crate::process::PYTHON;
use crate::servers::{Server, Sessions, Tuning};

/// Requirement of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// A client certificate.
    Certificate,
    /// The name of a server that it serves.
    KnownName,
    /// The next bytes within a second.
    PromptData,
}

/// Starts a server with such a requirement; `None` if it has no such setting or completes the
/// handshake regardless.
pub type Make = fn(Requirement, Sessions) -> Option<Server>;

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

fn haproxy(requirement: Requirement, sessions: Sessions) -> Option<Server> {
    let ca = ec().cert.display();
    Some(match requirement {
        Requirement::Certificate => {
            let bind = format!("verify required ca-file {ca}");
            let tuning = Tuning {
                bind: &bind,
                ..Tuning::default()
            };
            Server::haproxy_tuned(sessions, &tuning)
        }
        Requirement::KnownName => {
            let tuning = Tuning {
                bind: "strict-sni",
                ..Tuning::default()
            };
            Server::haproxy_tuned(sessions, &tuning)
        }
        Requirement::PromptData => Server::haproxy_with(sessions, "  timeout client 1s"),
    })
}

fn nginx(requirement: Requirement, sessions: Sessions) -> Option<Server> {
    let extra = match requirement {
        // Completes the handshake regardless; see [`lenient`].
        Requirement::Certificate => return None,
        Requirement::KnownName => "ssl_reject_handshake on;",
        Requirement::PromptData => "client_header_timeout 1s;",
    };
    Some(Server::nginx_with(sessions, extra))
}

fn stunnel(requirement: Requirement, sessions: Sessions) -> Option<Server> {
    let extra = match requirement {
        Requirement::Certificate => {
            format!("verifyChain = yes\nCAfile = {}\n", ec().cert.display())
        }
        // Completes the handshake regardless; see [`lenient`].
        Requirement::KnownName => return None,
        Requirement::PromptData => "TIMEOUTbusy = 1\n".to_owned(),
    };
    Some(Server::stunnel_with(sessions, &extra))
}

fn python(requirement: Requirement, sessions: Sessions) -> Option<Server> {
    let ca = ec().cert.display().to_string();
    let extra: &[&str] = match requirement {
        Requirement::Certificate => &["--client-ca", &ca],
        Requirement::KnownName => &["--refuse-names"],
        Requirement::PromptData => &["--timeout", "1"],
    };
    let python = &mut Command::new(PYTHON);
    Some(Server::python_with(sessions, "127.0.0.1", python, extra))
}

fn s_server(requirement: Requirement, sessions: Sessions) -> Option<Server> {
    let mut command = Command::new("openssl");
    let (cert, key) = (&ec().cert, &ec().key);
    Some(match requirement {
        Requirement::Certificate => Server::s_server_with(sessions, &mut command, |s_server| {
            s_server.args(["-Verify", "1", "-verify_return_error", "-CAfile"]);
            s_server.arg(cert);
        }),
        Requirement::KnownName => Server::s_server_with(sessions, &mut command, |s_server| {
            s_server.args(["-servername", "localhost", "-servername_fatal"]);
            s_server.arg("-cert2").arg(cert).arg("-key2").arg(key);
        }),
        // It has no timeout.
        Requirement::PromptData => return None,
    })
}
