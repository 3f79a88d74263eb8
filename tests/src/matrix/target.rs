//! Interface of a server to the matrix.

use super::cell::{Cell, usual_truth};
use super::setup::Setup;
use crate::poll::{DEADLINE, poll_until};
use crate::process::{Process, listeners};

/// A server of the matrix.
pub trait Target: Sync {
    /// Name of the server.
    fn name(&self) -> &'static str;

    /// Reasons that are all true in this cell: none where no session is missed, `None` where the
    /// combination does not exist.
    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        usual_truth(cell)
    }

    /// Whether the agent sees its handshakes on the wire only, and may leave reasons unknown.
    fn by_wire(&self) -> bool {
        false
    }

    /// A process that uses the same TLS library, so that the agent attaches to it before the cells
    /// start; `None` for the system's libssl.
    fn holder(&self) -> Option<Process> {
        None
    }

    /// Starts the processes that listen on the port of `setup`.
    fn start(&self, setup: &Setup) -> Vec<Process>;

    /// Applies the changed setup to the running server.
    fn change(&self, _setup: &Setup, _processes: &mut Vec<Process>) {
        unreachable!("{} changes nothing while it runs", self.name());
    }

    /// Number of clients.
    fn clients(&self, _cell: Cell) -> u32 {
        30
    }

    /// Options for the clients, for `fixtures/fleet.py`.
    fn words(&self, _cell: Cell) -> &'static str {
        ""
    }
}

/// Child processes of `parent`.
#[must_use]
pub(super) fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    let numbers = list.split_whitespace().map(str::parse);
    numbers.filter_map(Result::ok).collect()
}

/// Waits until `parent` has at least `count` children and none of those in `old`.
///
/// # Panics
/// If the deadline passes.
pub(super) fn wait_replaced(parent: u32, old: &[u32], count: usize) {
    poll_until("all workers are new", DEADLINE, || {
        let now = children(parent);
        if now.len() >= count && !now.iter().any(|pid| old.contains(pid)) {
            Ok(())
        } else {
            Err(format!("{now:?}, before {old:?}"))
        }
    });
}

/// Waits until at least this number of sockets listens on the port.
///
/// # Panics
/// If the deadline passes.
pub(super) fn wait_listeners(port: u16, count: usize) {
    poll_until("all processes listen", DEADLINE, || {
        let listening = listeners(std::process::id(), port);
        // A process may listen with one socket per thread.
        if listening >= count {
            Ok(())
        } else {
            Err(listening.to_string())
        }
    });
}
