//! Traps per handshake of each carrier: how often its process hits a uprobe, by the kernel's own
//! count of BPF program runs.
//!
//! Run by `cargo xtask bench`, which switches the accounting on and makes a table of the lines.
//! Counts need no quiet machine. The other end of each connection runs on libraries that the agent
//! ignores, so that one end alone is counted.

mod client;
mod count;
mod server;

/// Which handshakes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None offers a session.
    Full,
    /// All but the first of a client's sessions offer one.
    Resumed,
}

fn main() {
    let counter = count::Counter::start();
    server::count_each(&counter);
    client::count_each(&counter);
}
