//! Whether a socket belongs to the observed cgroup, for programs without a current task.

use super::memory::read;
use crate::{
    ABSENT,
    scope::{MAX_DEPTH, SocketScope},
};

#[unsafe(no_mangle)]
static SOCKET_SCOPE: SocketScope = SocketScope::HOST;

/// Whether the kernel socket is outside of the scope, or no socket at all. Where the whole host is
/// observed, the verifier knows that and skips the rest.
#[inline(always)]
#[must_use]
pub fn excludes_socket(skaddr: u64) -> bool {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let scope = unsafe { core::ptr::read_volatile(&raw const SOCKET_SCOPE) };
    scope.cgroup != ABSENT && !(skaddr != 0 && contains(&scope, skaddr))
}

/// Walks from the socket's cgroup up to the root.
#[inline(always)]
fn contains(scope: &SocketScope, skaddr: u64) -> bool {
    let mut next = read(skaddr + u64::from(scope.cgroup));
    for _ in 0..MAX_DEPTH {
        // A socket of the root cgroup may have no pointer. Before 5.15 an odd one is a class of
        // network control instead.
        let Some(cgroup @ 1..) = next.filter(|cgroup: &u64| cgroup & 1 == 0) else {
            return false;
        };
        let node: Option<u64> = read(cgroup + u64::from(scope.node));
        let id: Option<u32> = node.and_then(|node| read(node + u64::from(scope.id)));
        if id == Some(scope.inode) {
            return true;
        }
        next = read(cgroup + u64::from(scope.parent));
    }
    false
}
