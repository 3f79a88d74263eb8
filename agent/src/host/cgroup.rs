//! Whether there is a cgroup v2 hierarchy, whose root sees the packets of every socket.

use std::{
    fs,
    path::{Path, PathBuf},
};

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
        if let Some(place) = mounted() {
            return Self::Mounted(place);
        }
        let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if kinds.lines().any(|line| line.ends_with("\tcgroup2")) {
            Self::Mountable
        } else {
            Self::Missing
        }
    }
}

/// Where this process sees the root mounted.
#[must_use]
pub fn mounted() -> Option<PathBuf> {
    let mounts = Process::myself().and_then(|me| me.mountinfo());
    mounts.ok()?.into_iter().find_map(root_shown)
}

/// The place of a mount that shows the root.
fn root_shown(mount: MountInfo) -> Option<PathBuf> {
    let place = unescape(mount.mount_point.to_str()?);
    (mount.fs_type == "cgroup2" && is_root(&place)).then_some(place)
}

/// Spaces and the like are written as three octal digits (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).map(|digits| u8::from_str_radix(digits, 8)) {
            Some(Ok(byte)) => {
                path.push(char::from(byte));
                path.push_str(&part[3..]);
            }
            _ => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path.into()
}

/// Whether a directory is the root, of which a container's cgroup namespace may show a part alone: every cgroup but the root has a type
/// (Documentation/admin-guide/cgroup-v2.rst, `cgroup.type`). What another mount lies over shows neither file.
#[must_use]
pub fn is_root(place: &Path) -> bool {
    let has = |file| place.join(file).exists();
    has("cgroup.controllers") && !has("cgroup.type")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_part_of_the_hierarchy_is_not_its_root() {
        let directory = TempDir::new().unwrap();
        let place = directory.path().join("my cgroups");
        fs::create_dir(&place).unwrap();
        let written = place.display().to_string().replace(' ', "\\040");
        let shown = |kind: &str| {
            let line = format!("24 22 0:21 / {written} rw - {kind} {kind} rw");
            root_shown(MountInfo::from_line(&line).unwrap()).is_some()
        };
        assert!(!shown("cgroup2"), "hidden by another mount");
        fs::write(place.join("cgroup.controllers"), "").unwrap();
        assert!(shown("cgroup2") && !shown("tmpfs"));
        fs::write(place.join("cgroup.type"), "domain").unwrap();
        assert!(!shown("cgroup2"));
    }
}
