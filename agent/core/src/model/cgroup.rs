//! Control groups.

use std::num::NonZeroU64;

/// ID of a control group in the hierarchy of version 2, as `bpf_get_current_cgroup_id` returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(NonZeroU64);

impl CgroupId {
    /// From the ABI, where 0 is an unknown control group.
    #[must_use]
    pub const fn from_abi(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }
}
