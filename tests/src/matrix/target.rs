//! What a kind of server has to offer to stand in the matrix.

use super::cell::{Cell, usual_truth};
use super::setup::Setup;
use crate::poll::{DEADLINE, poll_until};
use crate::process::Process;

/// A kind of server.
pub trait Target: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Reasons of which each is true in this cell: none where nothing is missed, `None` where the
    /// combination does not exist.
    fn truth(&self, cell: Cell) -> Option<&'static [&'static str]> {
        usual_truth(cell)
    }

    /// Whether its TLS is only seen on the wire: there, reasons need not be named.
    fn by_wire(&self) -> bool {
        false
    }

    /// A process that holds its TLS library, to which the agent is then attached already; `None`
    /// for the system's libssl.
    fn holder(&self) -> Option<Process> {
        None
    }

    /// Starts its processes, of which the first leads; the workers of one service listen together.
    fn start(&self, setup: &Setup) -> Vec<Process>;

    /// Changes a running server to what `setup` says now.
    fn change(&self, _setup: &Setup, _processes: &mut Vec<Process>) {
        unreachable!("{} changes nothing while it runs", self.name());
    }

    /// Clients of a cell.
    fn clients(&self, _cell: Cell) -> u32 {
        30
    }

    /// Words for the clients, as `fixtures/fleet.py` reads them.
    fn words(&self, _cell: Cell) -> &'static str {
        ""
    }
}

/// The processes that `parent` started.
#[must_use]
pub(super) fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    let numbers = list.split_whitespace().map(str::parse);
    numbers.filter_map(Result::ok).collect()
}

/// Waits until `parent` has at least `count` children and none of `old`: its workers are new.
///
/// # Panics
/// When that is not so in time.
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
