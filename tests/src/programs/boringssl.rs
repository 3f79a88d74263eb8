//! BoringSSL's own tool as a client.

use std::process::Command;

use super::Counts;
use crate::process::run;
use crate::servers::Server;

/// One connection, or two of which the second offers the session of the first, in one process.
///
/// # Panics
/// When it fails, or says neither yes nor no.
#[must_use]
pub fn client(server: &Server, again: bool) -> Counts {
    // Its own word is what it writes to stderr; the server's page, which says the same of the
    // server, goes to stdout.
    let script = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | bssl-tool client -connect {} {} -max-version tls{} 2>&1 >/dev/null",
        server.peer(),
        if again { "-test-resumption" } else { "" },
        server.sessions.version()
    );
    let said = run(Command::new("sh").args(["-c", &script]));
    let mut counts = Counts::default();
    for line in said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Resumed session: "))
    {
        match line {
            "no" => counts.full += 1,
            "yes" => counts.resumed += 1,
            other => panic!("neither yes nor no: {other:?}"),
        }
    }
    counts
}
