//! Owners by control group and by process. Bounded: the least recently used leave.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use crate::{
    model::{CgroupId, Owner},
    pipeline::workload::WorkloadEvent,
};

/// Control groups, and processes, with a known owner.
const MAX_CGROUPS: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// Workload shown where the owner, or a container's process, is not known.
const UNKNOWN: &str = "unknown";

/// Owner of a process, while it is in this control group.
#[derive(Debug)]
struct Process {
    cgroup: Option<CgroupId>,
    owner: Arc<Owner>,
}

/// Table of owners.
#[derive(Debug)]
pub struct Owners {
    cgroups: LruCache<CgroupId, Arc<Owner>>,
    processes: LruCache<u32, Process>,
    unknown: Arc<Owner>,
    evicted: u64,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self {
            cgroups: LruCache::new(MAX_CGROUPS),
            processes: LruCache::new(MAX_PROCESSES),
            unknown: Arc::new(Owner::from_workload(UNKNOWN)),
            evicted: 0,
        }
    }

    /// Records the owner of a control group or of a process.
    pub fn assign(&mut self, event: &WorkloadEvent) {
        let mut owner = event.owner();
        if owner.workload.is_empty() {
            UNKNOWN.clone_into(&mut owner.workload);
        }
        let cgroup = CgroupId::from_abi(event.cgroup);
        match (event.tgid, cgroup) {
            (0, None) => {}
            (0, Some(cgroup)) => {
                let owner = match self.cgroups.get(&cgroup) {
                    Some(known) if **known == owner => return,
                    _ => Arc::new(owner),
                };
                let former = self.cgroups.push(cgroup, owner);
                self.evicted += u64::from(former.is_some_and(|(key, _)| key != cgroup));
            }
            (tgid, cgroup) => {
                let owner = match self.processes.get(&tgid) {
                    Some(known) if *known.owner == owner => Arc::clone(&known.owner),
                    _ => Arc::new(owner),
                };
                let former = self.processes.push(tgid, Process { cgroup, owner });
                self.evicted += u64::from(former.is_some_and(|(key, _)| key != tgid));
            }
        }
    }

    /// The owner of a process in a control group, and marks it as used; `unknown` where neither is
    /// known.
    pub(super) fn owner(&mut self, cgroup: Option<CgroupId>, tgid: Option<u32>) -> Arc<Owner> {
        if let Some(cgroup) = cgroup {
            self.cgroups.promote(&cgroup);
        }
        if let Some(tgid) = tgid {
            self.processes.promote(&tgid);
        }
        let known = self.get(cgroup, tgid).unwrap_or(&self.unknown);
        Arc::clone(known)
    }

    /// The owner of a process in a control group, where it is known. A process of the control group
    /// has the more specific one; what is known of a process in another control group is that of a
    /// former process with the same number.
    #[must_use]
    pub fn get(&self, cgroup: Option<CgroupId>, tgid: Option<u32>) -> Option<&Arc<Owner>> {
        let process = tgid.and_then(|tgid| self.processes.peek(&tgid));
        let is_inside = |process: &&Process| {
            cgroup.is_none() || process.cgroup.is_none() || process.cgroup == cgroup
        };
        let process = process.filter(is_inside).map(|process| &process.owner);
        process.or_else(|| self.cgroups.peek(&cgroup?))
    }

    /// The owner that stands for those that are not known.
    #[must_use]
    pub const fn unknown(&self) -> &Arc<Owner> {
        &self.unknown
    }

    /// Number of control groups and processes with a known owner.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cgroups.len() + self.processes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Control groups and processes that left because their table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(owners: &mut Owners, cgroup: u64, tgid: u32, workload: &str) {
        let owner = Owner::from_workload(workload);
        owners.assign(&WorkloadEvent::new(cgroup, tgid, &owner, 1));
    }

    #[test]
    fn processes_have_the_owner_of_their_control_group_or_their_own() {
        let mut owners = Owners::new();
        assign(&mut owners, 5, 0, "nginx.service");
        assign(&mut owners, 6, 7, "curl");
        assign(&mut owners, 0, 8, "wget");
        assign(&mut owners, 9, 0, "");
        let mut workload = |cgroup, tgid| {
            let owner = owners.owner(CgroupId::from_abi(cgroup), tgid);
            owner.workload.clone()
        };
        for (cgroup, tgid, expected) in [
            (5, None, "nginx.service"),
            (5, Some(1), "nginx.service"),
            (6, Some(7), "curl"),
            (0, Some(7), "curl"),
            // Another process with the same number, in the unit.
            (5, Some(7), "nginx.service"),
            (6, None, "unknown"),
            (6, Some(1), "unknown"),
            (6, Some(8), "wget"),
            (9, Some(1), "unknown"),
            (0, None, "unknown"),
        ] {
            assert_eq!(workload(cgroup, tgid), expected, "{cgroup} {tgid:?}");
        }
        assert!(owners.get(None, None).is_none());
        assert_eq!((owners.len(), owners.evicted()), (4, 0));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut owners = Owners::new();
        let max = MAX_CGROUPS.get() as u32;
        for number in 1..=max + 3 {
            assign(&mut owners, u64::from(number), 0, "a");
        }
        assign(&mut owners, u64::from(max), 0, "b");
        assert_eq!((owners.len(), owners.evicted()), (max as usize, 3));
    }
}
