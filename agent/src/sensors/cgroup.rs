//! Opens the root of the cgroup v2 hierarchy, which every process and so every socket belongs to, whatever hierarchy the
//! host's manager uses; where it is not mounted, in a mount that only this process sees.

use std::{fs::File, io, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::host::cgroup;

/// Where a hierarchy of our own is mounted, for a moment; hides what lies there from nobody else.
const PLACE: &str = "/mnt";
/// The cgroup namespace of the host, where its PID namespace is ours (DaemonSets with `hostPID`).
const HOST_NAMESPACE: &str = "/proc/1/ns/cgroup";

/// The root directory of the hierarchy, open.
///
/// # Errors
///
/// The kernel has no cgroup v2, or refuses the mount, or only part of the hierarchy can be seen from here.
pub(super) fn root() -> io::Result<File> {
    match cgroup::mounted() {
        Some(place) => File::open(place),
        None => private(),
    }
}

/// Mounts the hierarchy in a mount namespace of one thread's own and opens it there. The open file outlives mount and
/// namespace: in a thread of its own, so that no other thread's view changes.
fn private() -> io::Result<File> {
    let open = || -> io::Result<File> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        // Where that is not the host's, what is mounted below is not the root, and so refused.
        if let Ok(host) = File::open(HOST_NAMESPACE) {
            let _ = setns(host, CloneFlags::CLONE_NEWCGROUP);
        }
        let kind = Some("cgroup2");
        mount(kind, PLACE, kind, MsFlags::empty(), none)?;
        let (whole, root) = (cgroup::is_root(Path::new(PLACE)), File::open(PLACE));
        umount2(PLACE, MntFlags::MNT_DETACH)?;
        if whole {
            root
        } else {
            Err(io::Error::other(
                "only part of it is visible here; remedy: run in the host's cgroup namespace, or with the host's PID namespace",
            ))
        }
    };
    std::thread::scope(|scope| scope.spawn(open).join())
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}
