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
            .and_then(|mounts| mounts.into_iter().find(is_root))
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

/// Whether a mount shows the root, from which a container's cgroup namespace may hide a part: every cgroup but the root has a type
/// (Documentation/admin-guide/cgroup-v2.rst, `cgroup.type`). What another mount lies over shows neither file.
fn is_root(mount: &MountInfo) -> bool {
    let has = |file| mount.mount_point.join(file).exists();
    mount.fs_type == "cgroup2" && has("cgroup.controllers") && !has("cgroup.type")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_part_of_the_hierarchy_is_not_its_root() {
        let directory = TempDir::new().unwrap();
        let place = directory.path();
        let shown = |kind: &str| {
            let line = format!("24 22 0:21 / {} rw - {kind} {kind} rw", place.display());
            is_root(&MountInfo::from_line(&line).unwrap())
        };
        assert!(!shown("cgroup2"), "hidden by another mount");
        fs::write(place.join("cgroup.controllers"), "").unwrap();
        assert!(shown("cgroup2") && !shown("tmpfs"));
        fs::write(place.join("cgroup.type"), "domain").unwrap();
        assert!(!shown("cgroup2"));
    }
}
