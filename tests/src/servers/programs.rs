//! Servers that are configured by their arguments: Python, Node.js and the tools of TLS libraries.

use std::path::Path;
use std::process::Command;

use super::{Server, Sessions, scratch};
use crate::certificates::{Certificate, ec};
use crate::ports::free_port;
use crate::process::{PYTHON, fixture};

impl Server {
    /// Starts the threaded server with Python's `ssl`.
    #[must_use]
    pub fn python(sessions: Sessions) -> Self {
        Self::python_under(sessions, "127.0.0.1", &mut Command::new(PYTHON))
    }

    /// Starts the Python server on `host`; `command` runs the interpreter, for example in another
    /// namespace or with another library.
    #[must_use]
    pub fn python_under(sessions: Sessions, host: &str, command: &mut Command) -> Self {
        Self::python_with(sessions, host, command, &[])
    }

    /// Like [`Self::python_under`] with additional arguments for `fixtures/server.py`.
    #[must_use]
    pub fn python_with(
        sessions: Sessions,
        host: &str,
        command: &mut Command,
        extra: &[&str],
    ) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        command.arg(fixture("server.py")).args([
            "--host",
            host,
            "--port",
            &port.to_string(),
            "--tls",
            sessions.version(),
        ]);
        command.arg("--cert").arg(cert).arg("--key").arg(key);
        if sessions == Sessions::Ids {
            command.arg("--no-tickets");
        }
        Self::start(sessions, port, scratch(), command.args(extra))
    }

    /// Starts `openssl s_server -www`, which calls no exported function for its handshakes.
    #[must_use]
    pub fn s_server(sessions: Sessions) -> Self {
        Self::s_server_under(sessions, &mut Command::new("openssl"))
    }

    /// Like [`Self::s_server`] with another `openssl` than the system's.
    #[must_use]
    pub fn s_server_under(sessions: Sessions, command: &mut Command) -> Self {
        Self::s_server_with(sessions, command, |_| {})
    }

    /// Like [`Self::s_server_under`] with arguments that `extra` adds.
    #[must_use]
    pub fn s_server_with(
        sessions: Sessions,
        command: &mut Command,
        extra: impl FnOnce(&mut Command),
    ) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        command.args([
            "s_server",
            "-www",
            "-quiet",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ]);
        match sessions {
            Sessions::Ids => command.args(["-tls1_2", "-no_ticket"]),
            Sessions::Tickets => command.arg("-tls1_3"),
            Sessions::StatefulTickets => command.args(["-tls1_3", "-no_ticket"]),
            Sessions::OldTickets => command.arg("-tls1_2"),
        };
        extra(command);
        Self::start(
            sessions,
            port,
            scratch(),
            command.arg("-cert").arg(cert).arg("-key").arg(key),
        )
    }

    /// Starts the server in `fixtures/node/tls.js` with the Node.js program `node`.
    #[must_use]
    pub fn node(sessions: Sessions, node: &Path) -> Self {
        Self::node_with(sessions, node, 120_000)
    }

    /// Starts the same server, which waits this many milliseconds for a handshake.
    #[must_use]
    pub fn node_with(sessions: Sessions, node: &Path, timeout_ms: u32) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        let mut command = Command::new(node);
        command.arg(fixture("node/tls.js")).arg("server");
        command.arg(key).arg(cert);
        command.args([port.to_string(), timeout_ms.to_string()]);
        Self::start(sessions, port, scratch(), &mut command)
    }

    /// Starts the asyncio server of `fixtures/asyncio_tls.py`, which waits this many milliseconds
    /// for a handshake.
    #[must_use]
    pub fn asyncio(sessions: Sessions, timeout_ms: u32) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        let mut command = Command::new(PYTHON);
        command.arg(fixture("asyncio_tls.py")).arg("server");
        command.arg(key).arg(cert);
        command.args([port.to_string(), timeout_ms.to_string()]);
        Self::start(sessions, port, scratch(), &mut command)
    }

    /// Starts BoringSSL's command-line tool with the library that Debian ships for Android tools.
    #[must_use]
    pub fn boringssl(sessions: Sessions) -> Self {
        let port = free_port();
        let Certificate { cert, key, .. } = ec();
        let version = format!("tls{}", sessions.version());
        let mut command = Command::new("bssl-tool");
        command.args(["server", "-loop", "-www", "-max-version", &version]);
        command.args(["-accept", &port.to_string()]);
        command.arg("-cert").arg(cert).arg("-key").arg(key);
        Self::start(sessions, port, scratch(), &mut command)
    }
}
