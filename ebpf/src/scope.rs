//! The scope of the observation: one cgroup and those below it.

use crate::ABSENT;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Cgroups between a socket's and the root that the `tcp` programs compare with the scope.
pub const MAX_DEPTH: u32 = 32;

/// The cgroup whose sockets the `tcp` programs report, and the field offsets that lead from a
/// socket to its cgroup, bytes, from the kernel's BTF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketScope {
    /// Low half of the cgroup's inode number, which the kernel also has as its ID.
    pub inode: u32,
    /// `sk_cgrp_data` in `struct sock`: begins with the pointer to `struct cgroup`.
    pub cgroup: u32,
    /// `kn` in `struct cgroup`.
    pub node: u32,
    /// `id` in `struct kernfs_node`.
    pub id: u32,
    /// `self.parent` in `struct cgroup`: leads to `self` of the cgroup above, its first field.
    pub parent: u32,
}

impl SocketScope {
    /// The scope of an agent that observes the whole host.
    pub const HOST: Self = Self {
        inode: ABSENT,
        cgroup: ABSENT,
        node: ABSENT,
        id: ABSENT,
        parent: ABSENT,
    };
}

const _: () = assert!(size_of::<SocketScope>() == 20);
