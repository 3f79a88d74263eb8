//! The server of GnuTLS, which only packets show.

use std::process::Command;

use crate::certificates::ec;

/// `gnutls-serv` as an HTTP server on this port, with more arguments.
#[must_use]
pub fn server(port: u16, extra: &[&str]) -> Command {
    let mut command = Command::new("gnutls-serv");
    command.args(["--http", "--quiet", "--port", &port.to_string()]);
    command.arg("--x509certfile").arg(&ec().cert);
    command.arg("--x509keyfile").arg(&ec().key).args(extra);
    command
}
