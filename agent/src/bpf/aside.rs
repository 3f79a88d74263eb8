//! File systems that this process needs and the host may not have mounted: mounted where nobody else sees them.

use std::{fs::File, io, path::Path, thread};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// Where they are mounted, for a moment; hides what lies there from nobody else.
const PLACE: &str = "/mnt";

/// Mounts a file system of that kind in a mount namespace of one thread's own and opens what `open` wants of it. The open file
/// outlives mount and namespace. `before` runs in that thread ahead of the mount.
pub(super) fn mounted(
    kind: &str,
    before: impl FnOnce() + Send,
    open: impl FnOnce(&Path) -> io::Result<File> + Send,
) -> io::Result<File> {
    let work = || -> io::Result<File> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        before();
        mount(Some(kind), PLACE, Some(kind), MsFlags::empty(), none)?;
        let opened = open(Path::new(PLACE));
        umount2(PLACE, MntFlags::MNT_DETACH)?;
        opened
    };
    // A thread of its own, so that no other thread's view changes.
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}
