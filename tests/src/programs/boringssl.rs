//! BoringSSL's command-line tool as a client.

use std::process::Command;

use super::Counts;
use crate::process::run;
use crate::servers::Server;

/// Makes one connection, or two in one process, of which the second offers the session of the
/// first.
///
/// # Panics
/// If it fails or does not report whether the session was resumed.
#[must_use]
pub fn client(server: &Server, again: bool) -> Counts {
    // The client reports on stderr; stdout has the server's page with the server's report.
    let script = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | bssl-tool client -connect {} {} -max-version tls{} 2>&1 >/dev/null",
        server.peer(),
        if again { "-test-resumption" } else { "" },
        server.sessions.version()
    );
    let output = run(Command::new("sh").args(["-c", &script]));
    let mut counts = Counts::default();
    for line in output
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
