//! Looks up whose process one is, once for each process and again by and by, or when its pod becomes known; bounded.

use std::{
    fs,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::host::pods::Pods;
use reprise_core::pipeline::workload;

/// Processes remembered as looked up.
const MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// A process is looked up again after this: its number may have a new owner that came by no exec.
const AGE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Lookups {
    made: LruCache<u32, Made>,
    pods: Pods,
}

/// A lookup that was made.
#[derive(Debug)]
struct Made {
    at: Instant,
    /// Of a process in a pod that was not known: how far the names of pods were.
    waits: Option<u64>,
}

impl Lookups {
    /// With pods by their names, as far as these are known.
    #[must_use]
    pub fn new(pods: Pods) -> Self {
        Self {
            made: LruCache::new(MAX),
            pods,
        }
    }

    /// The workload of process `tgid`, which calls itself `comm`; `None` where it was told lately. A process that is gone already is
    /// known by its own name.
    pub fn of(&mut self, tgid: u32, comm: &[u8]) -> Option<String> {
        let pods = self.pods.lock();
        let holds = |made: &Made| {
            let news = made.waits.is_some_and(|waits| waits != pods.generation());
            made.at.elapsed() < AGE && !news
        };
        if self.made.get(&tgid).is_some_and(holds) {
            return None;
        }
        let text = |file: &str| fs::read_to_string(format!("/proc/{tgid}/{file}"));
        // The thread that ended the handshake may have a name of its own.
        let process = text("comm").unwrap_or_else(|_| {
            let end = comm.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&comm[..end.unwrap_or(comm.len())]).into_owned()
        });
        let cgroup = text("cgroup").unwrap_or_default();
        let pod = workload::pod(&cgroup);
        let name = pod.as_ref().and_then(|uid| pods.get(uid));
        let unknown = pod.is_some() && name.is_none();
        let waits = unknown.then(|| pods.generation());
        let at = Instant::now();
        self.made.put(tgid, Made { at, waits });
        Some(match name {
            Some(name) => name.to_string(),
            None => workload::name(&cgroup, process.trim_end()),
        })
    }

    /// The process runs another program now.
    pub fn forget(&mut self, tgid: u32) {
        self.made.pop(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_up_once() {
        let mut lookups = Lookups::new(Pods::default());
        let own = std::process::id();
        assert!(lookups.of(own, b"").is_some_and(|name| !name.is_empty()));
        assert_eq!(lookups.of(own, b""), None);
        lookups.forget(own);
        assert!(lookups.of(own, b"").is_some());
        // No process has this number (PID_MAX_LIMIT, include/linux/threads.h).
        assert_eq!(lookups.of(1 << 23, b"gone\0xxx"), Some("gone".to_owned()));
    }
}
