//! The cgroup v2 hierarchy. Programs attached to its root see the packets of every socket, because
//! every process belongs to it, whichever hierarchy the host's service manager uses.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};
use procfs::process::{MountInfo, Process};

use super::private_mount;

/// The cgroup namespace of the host, visible in its PID namespace (DaemonSets with `hostPID`).
const HOST_NAMESPACE: &str = "/proc/1/ns/cgroup";

/// State of the hierarchy on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// The root is mounted at this path.
    Mounted(PathBuf),
    /// The hierarchy is not mounted; the agent can mount it privately.
    Mountable,
    /// The kernel has no cgroup v2.
    Missing,
}

impl Cgroup {
    /// Detects the state on this host.
    #[must_use]
    pub fn detect() -> Self {
        if let Some(path) = mounted() {
            return Self::Mounted(path);
        }
        let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if kinds.lines().any(|line| line.ends_with("\tcgroup2")) {
            Self::Mountable
        } else {
            Self::Missing
        }
    }
}

/// Mount point of the root in this process's mount namespace.
#[must_use]
pub fn mounted() -> Option<PathBuf> {
    let mounts = Process::myself().and_then(|me| me.mountinfo());
    mounts.ok()?.into_iter().find_map(root_shown)
}

/// Mount point of a mount that shows the root.
fn root_shown(mount: MountInfo) -> Option<PathBuf> {
    let path = unescape(mount.mount_point.to_str()?);
    (mount.fs_type == "cgroup2" && is_root(&path)).then_some(path)
}

/// Decodes the octal escapes of spaces, tabs, newlines and backslashes (proc_pid_mountinfo(5)).
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

/// Whether a directory is the root of the hierarchy. A container's cgroup namespace can show only a
/// part of it; every cgroup except the root has a type (Documentation/admin-guide/cgroup-v2.rst,
/// `cgroup.type`). A directory that another mount hides has neither file.
pub(super) fn is_root(directory: &Path) -> bool {
    let has = |file| directory.join(file).exists();
    has("cgroup.controllers") && !has("cgroup.type")
}

/// Opens the root directory of the hierarchy, through a private mount if it is not mounted.
///
/// # Errors
///
/// The kernel has no cgroup v2 or rejects the mount, or only part of the hierarchy is visible.
pub fn open_root() -> io::Result<File> {
    match mounted() {
        Some(path) => File::open(path),
        None => open_private_root(),
    }
}

fn open_private_root() -> io::Result<File> {
    // In another cgroup namespace than the host's, the mount below does not show the root and is
    // rejected.
    let join_host = || {
        if let Ok(host) = File::open(HOST_NAMESPACE) {
            let _ = setns(host, CloneFlags::CLONE_NEWCGROUP);
        }
    };
    private_mount::open_in("cgroup2", join_host, |path| {
        if is_root(path) {
            return File::open(path);
        }
        Err(io::Error::other(
            "only part of it is visible here; remedy: run in the host's cgroup namespace, or with the host's PID namespace",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_subtree_is_not_the_root() {
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
