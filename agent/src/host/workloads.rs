//! Looks up whose process one is, once for each process and again by and by; bounded.

use std::{
    fs,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::workload;

/// Processes remembered as looked up.
const MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// A process is looked up again after this: its number may have a new owner that came by no exec.
const AGE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Lookups(LruCache<u32, Instant>);

impl Default for Lookups {
    fn default() -> Self {
        Self(LruCache::new(MAX))
    }
}

impl Lookups {
    /// The workload of process `tgid`, which calls itself `comm`; `None` where it was told lately. A process that is gone already is
    /// known by its own name.
    pub fn of(&mut self, tgid: u32, comm: &[u8]) -> Option<String> {
        if self.0.get(&tgid).is_some_and(|at| at.elapsed() < AGE) {
            return None;
        }
        self.0.put(tgid, Instant::now());
        let text = |file: &str| fs::read_to_string(format!("/proc/{tgid}/{file}"));
        // The thread that ended the handshake may have a name of its own.
        let process = text("comm").unwrap_or_else(|_| {
            let end = comm.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&comm[..end.unwrap_or(comm.len())]).into_owned()
        });
        let cgroup = text("cgroup").unwrap_or_default();
        Some(workload::name(&cgroup, process.trim_end()))
    }

    /// The process runs another program now.
    pub fn forget(&mut self, tgid: u32) {
        self.0.pop(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_up_once() {
        let mut lookups = Lookups::default();
        let own = std::process::id();
        assert!(lookups.of(own, b"").is_some_and(|name| !name.is_empty()));
        assert_eq!(lookups.of(own, b""), None);
        lookups.forget(own);
        assert!(lookups.of(own, b"").is_some());
        // No process has this number (PID_MAX_LIMIT, include/linux/threads.h).
        assert_eq!(lookups.of(1 << 23, b"gone\0xxx"), Some("gone".to_owned()));
    }
}
