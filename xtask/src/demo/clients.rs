//! Clients that reconnect periodically, each from its own address.

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

/// Script of a client; one process per client.
const SCRIPT: &str = include_str!("client.py");

/// Debian's Python, which uses the OpenSSL of the system.
const PYTHON: &str = "/usr/bin/python3";

/// Behaviour of one client.
struct Client {
    /// Source address.
    source: &'static str,
    port: u16,
    /// Connections per session: 1 never offers a session, 0 never discards it.
    connections_per_session: u32,
    /// Pause between two connections, milliseconds.
    pause_ms: u32,
}

/// Clients on loopback: for session IDs and for tickets, one that always resumes, one that discards
/// its session after four connections, and one that never offers a session.
const LOOPBACK: &[Client] = &[
    client("127.0.1.1", SESSION_ID_PORT, 0, 250),
    client("127.0.1.2", SESSION_ID_PORT, 4, 300),
    client("127.0.1.3", SESSION_ID_PORT, 1, 400),
    client("127.0.2.1", TICKET_PORT, 0, 250),
    client("127.0.2.2", TICKET_PORT, 4, 300),
    client("127.0.2.3", TICKET_PORT, 1, 400),
];

/// Clients behind the lossy path.
const LOSSY: &[Client] = &[
    client(CLIENT_ADDRESSES[0], SESSION_ID_PORT, 0, 200),
    client(CLIENT_ADDRESSES[1], TICKET_PORT, 0, 200),
    client(CLIENT_ADDRESSES[2], TICKET_PORT, 1, 200),
];

const fn client(
    source: &'static str,
    port: u16,
    connections_per_session: u32,
    pause_ms: u32,
) -> Client {
    Client {
        source,
        port,
        connections_per_session,
        pause_ms,
    }
}

/// Starts all clients. Each ends on drop, or with this process.
pub(super) fn start(directory: &Path) -> Result<Vec<Process>> {
    let script = directory.join("client.py");
    fs::write(&script, SCRIPT).with_context(|| format!("failed to write {}", script.display()))?;
    let certificate = directory.join(certificate::CERTIFICATE);
    let spawn = |client: &Client, server: &str, mut command: Command| {
        command
            .arg(&script)
            .args(["--source", client.source, "--trust"])
            .arg(&certificate)
            .args(["--server", &format!("{server}:{}", client.port)])
            .args(["--renew", &client.connections_per_session.to_string()])
            .args(["--pause", &client.pause_ms.to_string()])
            // A client ends at the end of its input, so it does not outlive this process.
            .stdin(Stdio::piped());
        Process::spawn("a client", &mut command)
    };
    let loopback = LOOPBACK
        .iter()
        .map(|client| spawn(client, "127.0.0.1", Command::new(PYTHON)));
    let lossy = LOSSY.iter().map(|client| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", network::NAMESPACE, PYTHON]);
        spawn(client, HOST_ADDRESS, command)
    });
    loopback.chain(lossy).collect()
}
