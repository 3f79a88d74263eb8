//! The memory lock limit, which kernels below 5.11 charge BPF maps to.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// The limit, bytes; `None` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLock(pub Option<u64>);

impl MemoryLock {
    /// Lifts the limit where that is allowed, and says what it is then.
    #[must_use]
    pub fn lift() -> Self {
        // Refused without CAP_SYS_RESOURCE where the hard limit is lower: then as far as that.
        let all = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
        if all.is_err() && setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_err() {
            tracing::debug!(hard, "memory lock limit not raised");
        }
        let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
        Self((soft != RLIM_INFINITY).then_some(soft))
    }
}
