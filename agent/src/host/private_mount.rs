//! Mounts file systems in a private mount namespace, for those that the host may not have mounted.

use std::{fs::File, io, path::Path, thread};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// Temporary mount point. Other processes still see the directory as it was.
const MOUNT_POINT: &str = "/mnt";

/// Mounts a file system of this kind in the mount namespace of a new thread, and opens a file in it
/// by `open`. The open file outlives mount and namespace. `before` runs in the thread before the
/// mount.
///
/// # Errors
///
/// The namespace, the mount or `open` failed.
pub(crate) fn open_in(
    kind: &str,
    before: impl FnOnce() + Send,
    open: impl FnOnce(&Path) -> io::Result<File> + Send,
) -> io::Result<File> {
    let work = || -> io::Result<File> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        before();
        mount(Some(kind), MOUNT_POINT, Some(kind), MsFlags::empty(), none)?;
        let opened = open(Path::new(MOUNT_POINT));
        umount2(MOUNT_POINT, MntFlags::MNT_DETACH)?;
        opened
    };
    // A mount namespace belongs to a thread; a new one leaves the other threads unaffected.
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}
