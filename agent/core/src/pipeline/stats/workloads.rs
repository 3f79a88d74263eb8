//! Completed handshakes per workload and port: the most recently active ones by name, the others as one sum.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::ByRole;
use crate::model::{Resumption, Role};

/// Processes whose workload is remembered.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();
/// Who is not known: handshakes that only the wire showed.
const NOBODY: &str = "unknown";

/// A workload's service, in one role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// Its name.
    pub workload: Arc<str>,
    /// Port of the server, wherever that is.
    pub port: u16,
    /// Role of the observed process.
    pub role: Role,
}

/// Completed handshakes by resumption.
pub type WorkloadSums = [u64; Resumption::ALL.len()];

/// See the module.
#[derive(Debug)]
pub struct Workloads {
    processes: LruCache<u32, Arc<str>>,
    named: LruCache<WorkloadKey, WorkloadSums>,
    other: ByRole<WorkloadSums>,
    evicted: u64,
    nobody: Arc<str>,
}

impl Workloads {
    pub(super) fn new(max: usize) -> Self {
        Self {
            processes: LruCache::new(MAX_PROCESSES),
            named: LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
            other: Default::default(),
            evicted: 0,
            nobody: NOBODY.into(),
        }
    }

    /// Process `tgid` belongs to this workload.
    pub fn assign(&mut self, tgid: u32, workload: &str) {
        if self
            .processes
            .get(&tgid)
            .is_none_or(|name| **name != *workload)
        {
            self.processes.put(tgid, workload.into());
        }
    }

    pub(super) fn completed(&mut self, tgid: u32, port: u16, role: Role, resumption: Resumption) {
        let workload = self.processes.get(&tgid).unwrap_or(&self.nobody).clone();
        let key = WorkloadKey {
            workload,
            port,
            role,
        };
        if let Some(sums) = self.named.get_mut(&key) {
            sums[resumption as usize] += 1;
            return;
        }
        let mut sums = WorkloadSums::default();
        sums[resumption as usize] = 1;
        // What is not told apart any more is still counted.
        if let Some((oldest, sums)) = self.named.push(key, sums) {
            let other = &mut self.other[oldest.role as usize];
            for (mine, theirs) in other.iter_mut().zip(sums) {
                *mine += theirs;
            }
            self.evicted += 1;
        }
    }

    /// Those with a name of their own, in order.
    #[must_use]
    pub fn named(&self) -> Vec<(&WorkloadKey, &WorkloadSums)> {
        let mut named: Vec<_> = self.named.iter().collect();
        named.sort_unstable();
        named
    }

    /// Sums of the others, by role.
    #[must_use]
    pub const fn other(&self) -> &ByRole<WorkloadSums> {
        &self.other
    }

    /// Those that went to the others for room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Those with a name of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_go_to_the_workload_of_their_process_and_sums_stay() {
        let mut workloads = Workloads::new(2);
        workloads.assign(1, "nginx.service");
        workloads.assign(2, "container/0123456789ab");
        workloads.completed(1, 443, Role::Server, Resumption::Full);
        workloads.completed(2, 443, Role::Client, Resumption::Resumed);
        workloads.completed(1, 443, Role::Server, Resumption::Resumed);
        workloads.completed(0, 8443, Role::Server, Resumption::Full);
        let named: Vec<_> = workloads
            .named()
            .into_iter()
            .map(|(key, sums)| (key.workload.to_string(), key.port, *sums))
            .collect();
        let expected = [
            ("nginx.service".to_owned(), 443, [1, 1, 0]),
            ("unknown".to_owned(), 8443, [1, 0, 0]),
        ];
        assert_eq!(named, expected);
        assert_eq!(workloads.other()[Role::Client as usize], [0, 1, 0]);
        assert_eq!((workloads.evicted(), workloads.len()), (1, 2));
    }
}
