//! ABI of the programs that report created and removed cgroups, and where all programs read the
//! process behind an event: its cgroup and its name.

use crate::{ABSENT, Header};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of a [`CgroupEvent`]: a cgroup was created.
pub const CREATED: u32 = 48;
/// `Header::kind` of a [`CgroupEvent`]: a cgroup was removed.
pub const REMOVED: u32 = 49;

/// Capacity for a path, bytes, with its final NUL; longer paths are cut.
pub const MAX_PATH: usize = 512;

/// A cgroup of the v2 hierarchy was created or removed.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupEvent {
    /// Kind and time.
    pub header: Header,
    /// The kernel's ID of the cgroup, as `bpf_get_current_cgroup_id` returns it.
    pub id: u64,
    /// Length of the path, bytes; `MAX_PATH - 1` where the path may be cut.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
    /// Path from the root of the hierarchy, then zeroes.
    pub path: [u8; MAX_PATH],
}

/// Offsets that lead from a `struct cgroup` to its ID and its hierarchy, bytes, from the kernel's
/// BTF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupLayout {
    /// `root` in `struct cgroup`.
    pub root: u32,
    /// `hierarchy_id` in `struct cgroup_root`: 0 for the v2 hierarchy.
    pub hierarchy: u32,
    /// `kn` in `struct cgroup`.
    pub node: u32,
    /// `id` in `struct kernfs_node`.
    pub id: u32,
}

/// Offsets that lead from the current task to the name of its process, bytes, from the kernel's
/// BTF; [`ABSENT`] where it has none.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessLayout {
    /// `group_leader` in `struct task_struct`.
    pub leader: u32,
    /// `comm` in `struct task_struct`.
    pub comm: u32,
}

impl CgroupLayout {
    /// The layout before the agent sets it.
    pub const UNKNOWN: Self = Self {
        root: ABSENT,
        hierarchy: ABSENT,
        node: ABSENT,
        id: ABSENT,
    };
}

impl ProcessLayout {
    /// The layout of a kernel without BTF: the name of the thread stands for that of the process.
    pub const UNKNOWN: Self = Self {
        leader: ABSENT,
        comm: ABSENT,
    };
}

const _: () = assert!(size_of::<CgroupEvent>() == 544);
const _: () = assert!(size_of::<CgroupLayout>() == 16);
const _: () = assert!(size_of::<ProcessLayout>() == 8);
