//! Processes outside of the observed cgroup.

use super::Table;

impl Table {
    /// Records whether a process is outside of the observed cgroup. One that has moved is examined
    /// again.
    pub(in crate::host::discover) fn set_outside(&mut self, pid: u32, is_outside: bool) {
        let has_moved = if is_outside {
            self.outside.insert(pid)
        } else {
            self.outside.remove(&pid)
        };
        if has_moved {
            self.processes.remove(&pid);
        }
    }

    /// Whether a process is outside of the observed cgroup.
    pub(in crate::host::discover) fn is_outside(&self, pid: u32) -> bool {
        self.outside.contains(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::discover::{owner::Owner, table::Process},
        status::Reason,
    };

    #[test]
    fn a_process_that_moves_is_examined_again_and_outside_it_is_not_listed() {
        let mut table = Table::new(0, 1);
        let unreadable = || {
            let mut process = Process::new(7, Vec::new(), Owner::nobody());
            process.problem = Some((Reason::Unreadable, "a test".to_owned()));
            process
        };
        table.record_process(5, unreadable());
        assert_eq!(table.coverage().uncovered.len(), 1);
        table.set_outside(5, false);
        assert_eq!(table.code_of(5), Some(7), "it did not move");
        table.set_outside(5, true);
        assert_eq!(table.code_of(5), None);
        table.record_process(5, unreadable());
        assert!(table.is_outside(5) && table.coverage().uncovered.is_empty());
        table.retain_processes(|_| false);
        assert!(!table.is_outside(5));
    }
}
