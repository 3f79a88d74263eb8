//! `openssl s_client` with a ClientHello that needs more than one segment.

use std::io::{Seek as _, Write as _};
use std::process::Command;

use crate::process::run;

/// Runs `s_client` with a ClientHello of more than 2,000 bytes and its session in `file`; returns
/// whether it reports a resumption. `words` is a command prefix, such as for a network namespace.
///
/// # Panics
/// If the handshake does not complete.
#[must_use]
pub fn s_client(words: &[&str], connect: &str, file: &str, offer: bool) -> bool {
    let names: Vec<_> = (0..60)
        .map(|n| format!("a-protocol-that-nobody-speaks-{n:04}"))
        // nginx rejects clients without a common protocol.
        .chain(["http/1.1".to_owned()])
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
    // With a request the ticket is read before the connection ends.
    let mut request = tempfile::tempfile().expect("failed to create a file for a request");
    request
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .and_then(|()| request.rewind())
        .expect("failed to write a request");
    command.stdin(request);
    let output = run(&mut command);
    let resumed = output.contains("Reused, TLSv1.");
    assert!(resumed || output.contains("New, TLSv1."), "{output}");
    resumed
}
