//! Traps per handshake of each carrier: how often its process hits a uprobe, by the kernel's own count of BPF program runs.
//!
//! Run by `cargo xtask bench`, which switches the accounting on and makes a table of the lines. Counts need no quiet machine. The other
//! end of each connection runs on libraries that the agent ignores, so that one end alone is counted.

mod client;
mod count;
mod server;

use reprise_tests::servers::Sessions;

/// Which handshakes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None offers a session.
    Full,
    /// All but the first of a client's sessions offer one.
    Resumed,
}

/// A session for each protocol version.
const VERSIONS: [Sessions; 2] = [Sessions::Ids, Sessions::Tickets];

fn main() {
    let counter = count::Counter::start();
    server::count_each(&counter);
    client::count_each(&counter);
}
