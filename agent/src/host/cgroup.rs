//! Whether there is a cgroup v2 hierarchy, whose root sees the packets of every socket.

use std::{fs, path::PathBuf};

use procfs::process::{MountInfo, Process};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// Its root is mounted there.
    Mounted(PathBuf),
    /// It is not mounted, and the agent can mount it for itself.
    Mountable,
    /// The kernel has none.
    Missing,
}

impl Cgroup {
    /// What this host has.
    #[must_use]
    pub fn own() -> Self {
        let mounts = Process::myself().and_then(|me| me.mountinfo());
        let mounted = mounts
            .ok()
            .and_then(|mounts| {
                let mut mounts = mounts.into_iter();
                mounts.find(|mount| is_root(mount) && is_visible(mount))
            })
            .map(|mount| Self::Mounted(mount.mount_point));
        mounted.unwrap_or_else(|| {
            let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
            if kinds.lines().any(|line| line.ends_with("\tcgroup2")) {
                Self::Mountable
            } else {
                Self::Missing
            }
        })
    }
}

/// A container sees a part of the hierarchy instead, unless it has the host's cgroup namespace.
fn is_root(mount: &MountInfo) -> bool {
    mount.fs_type == "cgroup2" && mount.root == "/"
}

/// Whether no other mount lies over it.
fn is_visible(mount: &MountInfo) -> bool {
    mount.mount_point.join("cgroup.controllers").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_hierarchy_is_not_its_root() {
        let parse = |line: &str| is_root(&MountInfo::from_line(line).unwrap());
        assert!(parse(
            "24 22 0:21 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw"
        ));
        assert!(!parse(
            "24 22 0:21 /pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
        ));
        assert!(!parse(
            "24 22 0:21 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw"
        ));
    }
}
