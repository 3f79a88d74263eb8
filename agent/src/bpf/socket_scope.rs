//! Where the `tcp` programs, which have no current task, read the cgroup of a socket.

use reprise_ebpf::scope::SocketScope;

use super::btf::{Field, NoOffsets, Offsets, field};
use crate::host::ObservedCgroup;

/// The scope for a cgroup; the whole host without one.
///
/// # Errors
///
/// [`NoOffsets`].
pub(super) fn find(cgroup: Option<&ObservedCgroup>) -> Result<SocketScope, NoOffsets> {
    let Some(cgroup) = cgroup else {
        return Ok(SocketScope::HOST);
    };
    Offsets::find(|offsets| from_btf(offsets, cgroup.inode))
}

fn from_btf(offsets: &Offsets, inode: u64) -> Result<SocketScope, Field> {
    // The programs use the address of this field as that of its structure.
    if offsets.at(field::CGROUP_STATE)? != 0 {
        return Err(field::CGROUP_STATE);
    }
    Ok(SocketScope {
        // Before 5.5 the upper half of the kernel's ID is a generation.
        inode: inode as u32,
        cgroup: offsets.at(field::SOCKET_CGROUP)?,
        node: offsets.at(field::CGROUP_NODE)?,
        id: offsets.at(field::NODE_ID)?,
        parent: offsets.at(field::CGROUP_PARENT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "says that the test did not run")]
    fn the_fields_are_found_in_the_btf_of_this_kernel() {
        let Ok(offsets) = Offsets::of_kernel() else {
            eprintln!("skipped: this kernel has no readable BTF");
            return;
        };
        let scope = from_btf(offsets, 1 << 32 | 7).unwrap();
        assert_eq!(scope.inode, 7);
        assert!(scope.cgroup.is_multiple_of(8) && scope.parent.is_multiple_of(8));
        let none = Offsets::read(&[]);
        assert_eq!(from_btf(&none, 7), Err(field::CGROUP_STATE));
        assert_eq!(find(None).unwrap(), SocketScope::HOST);
    }
}
