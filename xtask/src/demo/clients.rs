//! The clients: sensors that come back, each from an address of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    addresses::{CLIENT_ADDRESSES, HOST_ADDRESS, SESSION_ID_PORT, TICKET_PORT},
    network,
};
use crate::{certificate, process::Process};

/// The client: one process per sensor.
const SCRIPT: &str = include_str!("client.py");

/// Debian's Python, which uses the system's OpenSSL.
const PYTHON: &str = "/usr/bin/python3";

/// How one client behaves.
struct Client {
    source: &'static str,
    port: u16,
    /// Connections per session: 1 never offers one, 0 never forgets it.
    renew: u32,
    /// Milliseconds between two connections.
    pause: u32,
}

/// On loopback: one that always resumes, one that restarts now and then, one that never offers;
/// of both kinds of session.
const LOOPBACK: &[Client] = &[
    client("127.0.1.1", SESSION_ID_PORT, 0, 250),
    client("127.0.1.2", SESSION_ID_PORT, 4, 300),
    client("127.0.1.3", SESSION_ID_PORT, 1, 400),
    client("127.0.2.1", TICKET_PORT, 0, 250),
    client("127.0.2.2", TICKET_PORT, 4, 300),
    client("127.0.2.3", TICKET_PORT, 1, 400),
];

/// Behind the lossy path.
const LOSSY: &[Client] = &[
    client(CLIENT_ADDRESSES[0], SESSION_ID_PORT, 0, 200),
    client(CLIENT_ADDRESSES[1], TICKET_PORT, 0, 200),
    client(CLIENT_ADDRESSES[2], TICKET_PORT, 1, 200),
];

const fn client(source: &'static str, port: u16, renew: u32, pause: u32) -> Client {
    Client {
        source,
        port,
        renew,
        pause,
    }
}

/// Starts all; each ends when its process is dropped, or when this program is gone.
pub(super) fn start(directory: &Path) -> Result<Vec<Process>> {
    let script = directory.join("client.py");
    fs::write(&script, SCRIPT).with_context(|| format!("failed to write {}", script.display()))?;
    let certificate = directory.join(certificate::CERTIFICATE);
    let run = |client: &Client, server: &str, mut command: Command| {
        command
            .arg(&script)
            .args(["--source", client.source, "--trust"])
            .arg(&certificate)
            .args(["--server", &format!("{server}:{}", client.port)])
            .args(["--renew", &client.renew.to_string()])
            .args(["--pause", &client.pause.to_string()])
            // A client ends when the other end of its input does: no orphans, whatever happens.
            .stdin(Stdio::piped());
        Process::spawn("a client", &mut command)
    };
    let near = LOOPBACK
        .iter()
        .map(|client| run(client, "127.0.0.1", Command::new(PYTHON)));
    let far = LOSSY.iter().map(|client| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", network::NAMESPACE, PYTHON]);
        run(client, HOST_ADDRESS, command)
    });
    near.chain(far).collect()
}
