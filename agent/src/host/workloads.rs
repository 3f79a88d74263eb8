//! Looks up the workload of a process and caches the result for a minute, or until the pod of the
//! process becomes known. Bounded.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::host::{HostProcesses, pods::Pods};
use reprise_core::{model::Owner, pipeline::workload::Placement};

/// Maximum number of cached lookups.
const MAX_CACHED: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Lifetime of a cached lookup: a process ID can be reused without an exec event.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Cached workload lookups.
#[derive(Debug)]
pub(crate) struct Lookups {
    cached: LruCache<u32, CachedLookup>,
    pods: Pods,
    processes: HostProcesses,
}

/// A lookup and its validity.
#[derive(Debug)]
struct CachedLookup {
    at: Instant,
    /// Generation of the pod table at the lookup, if the pod of the process was unknown then.
    unknown_pod: Option<u64>,
}

impl Lookups {
    /// Creates an empty cache that reads `processes` and resolves pods by `pods`.
    #[must_use]
    pub(crate) fn new(pods: Pods, processes: HostProcesses) -> Self {
        Self {
            cached: LruCache::new(MAX_CACHED),
            pods,
            processes,
        }
    }

    /// Looks up the workload of process `tgid`; `None` if the cached result is still valid. `comm`
    /// names a process that has already ended.
    pub(crate) fn look_up(&mut self, tgid: u32, comm: &[u8]) -> Option<Owner> {
        let pods = self.pods.lock();
        let is_valid = |cached: &CachedLookup| {
            let pod_changed = cached
                .unknown_pod
                .is_some_and(|generation| generation != pods.generation());
            cached.at.elapsed() < MAX_AGE && !pod_changed
        };
        if self.cached.get(&tgid).is_some_and(is_valid) {
            return None;
        }
        let text = |file: &str| self.processes.read(tgid, file);
        // `comm` of the event is the name of a thread, which can differ from the process's name.
        let process = text("comm").unwrap_or_else(|_| {
            let end = comm.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&comm[..end.unwrap_or(comm.len())]).into_owned()
        });
        let placement = Placement::from_proc(&text("cgroup").unwrap_or_default());
        let pod = placement.pod_uid().and_then(|uid| pods.get(uid));
        let unknown_pod = (!placement.is_named_by(pod)).then(|| pods.generation());
        let at = Instant::now();
        self.cached.put(tgid, CachedLookup { at, unknown_pod });
        Some(placement.owner(pod, process.trim_end()))
    }

    /// Removes the cached lookup of a process that executed another program.
    pub(crate) fn invalidate(&mut self, tgid: u32) {
        self.cached.pop(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_is_cached() {
        let mut lookups = Lookups::new(Pods::default(), HostProcesses::detect());
        let own = std::process::id();
        assert!(
            lookups
                .look_up(own, b"")
                .is_some_and(|owner| !owner.workload.is_empty())
        );
        assert_eq!(lookups.look_up(own, b""), None);
        lookups.invalidate(own);
        assert!(lookups.look_up(own, b"").is_some());
        // No process has this number (PID_MAX_LIMIT, include/linux/threads.h).
        assert_eq!(
            lookups.look_up(1 << 23, b"gone\0xxx"),
            Some(Owner::from_workload("gone"))
        );
    }
}
