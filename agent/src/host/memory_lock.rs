//! The memory lock limit, to which kernels before 5.11 charge BPF maps.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// The memory lock limit in bytes; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLock(pub Option<u64>);

impl MemoryLock {
    /// Raises the limit as far as allowed and returns it.
    #[must_use]
    pub(crate) fn raise() -> Self {
        // Without CAP_SYS_RESOURCE the limit can be raised only to the hard limit.
        let all = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
        if all.is_err() && setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_err() {
            tracing::debug!(hard, "memory lock limit not raised");
        }
        let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
        Self((soft != RLIM_INFINITY).then_some(soft))
    }
}
