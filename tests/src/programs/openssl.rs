//! `openssl s_server` and `s_client` of this system or another suite. Neither calls an exported
//! function for the handshake.

use std::path::Path;
use std::process::Command;

use super::Counts;
use crate::carriers::wheel::with_prefix;
use crate::process::run;

/// Returns a command for the `openssl` of an unpacked root with the libraries of that root, or for
/// the system's `openssl` without a root.
#[must_use]
pub fn openssl(root: Option<&Path>) -> Command {
    let Some(root) = root else {
        return Command::new("openssl");
    };
    let loader = with_prefix(root, "ld-linux-x86-64").expect("a root has a dynamic linker");
    let directories =
        ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|directory| root.join(directory));
    let path = directories
        .map(|directory| directory.display().to_string())
        .join(":");
    let mut command = Command::new(loader);
    command
        .env("OPENSSL_CONF", "/dev/null")
        .args(["--library-path", &path])
        .arg(root.join("usr/bin/openssl"));
    command
}

/// Runs `s_client -reconnect`, which connects six times, offers the session of the first connection
/// in the others, and reports whether each was resumed.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn reconnect(mut openssl: Command, port: u16, version: &str) -> Counts {
    let version = format!("-tls{}", version.replace('.', "_"));
    let address = format!("127.0.0.1:{port}");
    openssl.args(["s_client", "-connect", &address, "-reconnect", &version]);
    let output = run(openssl.stdin(std::process::Stdio::null()));
    let count = |word: &str| {
        let lines = output.lines().filter(|line| line.starts_with(word)).count();
        u32::try_from(lines).expect("few lines")
    };
    let counts = Counts {
        full: count("New, "),
        resumed: count("Reused, "),
    };
    assert!(counts.full + counts.resumed >= 6, "{counts:?}: {output}");
    counts
}
