//! Traps per handshake of each carrier: the number of uprobe hits of its process, from the kernel's
//! count of BPF program runs.
//!
//! `cargo xtask bench` enables the accounting, runs this and creates a table from the lines. Counts
//! need no idle machine. The other end of each connection uses libraries that the agent ignores, so
//! that only one end is counted.

mod client;
mod count;
mod server;

/// Kind of handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No handshake offers a session.
    Full,
    /// All handshakes but the first of each client offer a session.
    Resumed,
}

fn main() {
    let counter = count::Counter::start();
    server::count_each(&counter);
    client::count_each(&counter);
}
