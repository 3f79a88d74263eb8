//! Network namespaces: any user can create one with a user namespace of its own, give it any
//! address and run servers and clients there. So each connection is named together with its
//! namespace.

use crate::ABSENT;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offset of `skc_net` in `struct sock_common` (include/net/sock.h), bytes: the same in every
/// 64-bit kernel from 5.4 to 7.2. The agent compares it with the kernel's BTF.
pub const SOCKET_NAMESPACE: u32 = 48;
/// Bit of [`crate::Socket::netns`]: the namespace belongs to a user namespace other than the
/// initial one, so that a user without rights on the host may have created it.
pub const OF_USER_NAMESPACE: u32 = 1 << 31;

/// Field offsets in the kernel's structures, bytes, from its BTF; [`ABSENT`] where it has none.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NamespaceLayout {
    /// `ns.inum` in `struct net`: the inode number of `/proc/PID/ns/net`.
    pub inode: u32,
    /// `user_ns` in `struct net`: the user namespace that it belongs to.
    pub user_namespace: u32,
    /// `level` in `struct user_namespace`: 0 in the initial one.
    pub level: u32,
}

impl NamespaceLayout {
    /// The layout of a kernel without BTF: every namespace is unknown.
    pub const UNKNOWN: Self = Self {
        inode: ABSENT,
        user_namespace: ABSENT,
        level: ABSENT,
    };
}

/// Value of [`crate::Socket::netns`] for the namespace with this inode number, whose user namespace
/// has this level. The kernel sets the highest bit of all inode numbers (`PROC_DYNAMIC_FIRST`,
/// fs/proc/generic.c) and allows levels up to 33 (`create_user_ns`, kernel/user_namespace.c).
/// Without a branch, after which the verifier would process two paths.
#[must_use]
pub const fn identifier(inode: u32, level: u32) -> u32 {
    let of_user_namespace = (level.wrapping_add(63) / 64) & 1;
    (inode & !OF_USER_NAMESPACE) | (of_user_namespace * OF_USER_NAMESPACE)
}

const _: () = assert!(size_of::<NamespaceLayout>() == 12);
