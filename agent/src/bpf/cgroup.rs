//! Opens the root of the cgroup v2 hierarchy, which every process and so every socket belongs to, whatever hierarchy the
//! host's manager uses; where it is not mounted, in a mount that only this process sees.

use std::{fs::File, io};

use nix::sched::{CloneFlags, setns};

use super::aside;
use crate::host::cgroup;

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

/// The hierarchy, mounted aside.
fn private() -> io::Result<File> {
    // Where that is not the host's, what is mounted below is not the root, and so refused.
    let join_host = || {
        if let Ok(host) = File::open(HOST_NAMESPACE) {
            let _ = setns(host, CloneFlags::CLONE_NEWCGROUP);
        }
    };
    aside::mounted("cgroup2", join_host, |place| {
        if cgroup::is_root(place) {
            return File::open(place);
        }
        Err(io::Error::other(
            "only part of it is visible here; remedy: run in the host's cgroup namespace, or with the host's PID namespace",
        ))
    })
}
