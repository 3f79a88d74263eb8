//! Where the `tcp` programs, which have no current task, read the cgroup of a socket.

use std::{fs, io};

use reprise_ebpf::scope::SocketScope;
use thiserror::Error;

use super::btf::{BTF, Field, Offsets};
use crate::host::ObservedCgroup;

const SOCKET: Field = ("sock", "sk_cgrp_data");
const NODE: Field = ("cgroup", "kn");
const ID: Field = ("kernfs_node", "id");
const CSS: Field = ("cgroup", "self");
const PARENT: Field = ("cgroup_subsys_state", "parent");

/// Why the programs cannot read the cgroup of a socket.
#[derive(Debug, Error)]
pub(crate) enum NoSocketScope {
    /// The kernel has no readable BTF.
    #[error("the kernel's BTF could not be read (CONFIG_DEBUG_INFO_BTF)")]
    Btf(#[source] io::Error),
    /// The BTF does not have this field where the programs can use it.
    #[error("the kernel's BTF has no usable field {}.{}", .0.0, .0.1)]
    Field(Field),
}

/// The scope for a cgroup; the whole host without one.
///
/// # Errors
///
/// [`NoSocketScope`].
pub(super) fn find(cgroup: Option<&ObservedCgroup>) -> Result<SocketScope, NoSocketScope> {
    let Some(cgroup) = cgroup else {
        return Ok(SocketScope::HOST);
    };
    let bytes = fs::read(BTF).map_err(NoSocketScope::Btf)?;
    from_btf(&bytes, cgroup.inode).map_err(NoSocketScope::Field)
}

fn from_btf(bytes: &[u8], inode: u64) -> Result<SocketScope, Field> {
    let found = Offsets::read(bytes, &[SOCKET, NODE, ID, CSS, PARENT]);
    // The programs take the address of this field for that of its structure.
    if found.at(CSS)? != 0 {
        return Err(CSS);
    }
    Ok(SocketScope {
        // Before 5.5 the upper half of the kernel's ID is a generation.
        inode: inode as u32,
        cgroup: found.at(SOCKET)?,
        node: found.at(NODE)?,
        id: found.at(ID)?,
        parent: found.at(PARENT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "says that the test did not run")]
    fn the_fields_are_found_in_the_btf_of_this_kernel() {
        let Ok(bytes) = fs::read(BTF) else {
            eprintln!("skipped: this kernel has no {BTF}");
            return;
        };
        let scope = from_btf(&bytes, 1 << 32 | 7).unwrap();
        assert_eq!(scope.inode, 7);
        assert!(scope.cgroup.is_multiple_of(8) && scope.parent.is_multiple_of(8));
        assert_eq!(from_btf(&[], 7), Err(CSS));
        assert_eq!(find(None).unwrap(), SocketScope::HOST);
    }
}
