//! Finds the root of the cgroup v2 hierarchy, which every process and so every socket belongs to, whatever hierarchy the
//! host's manager uses; or mounts one that only this process sees.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use super::aside;

/// The cgroup namespace of the host, where its PID namespace is ours (DaemonSets with `hostPID`).
const HOST_NAMESPACE: &str = "/proc/1/ns/cgroup";

/// The root directory of the hierarchy, open.
///
/// # Errors
///
/// The kernel has no cgroup v2, or refuses the mount, or only part of the hierarchy can be seen from here.
pub(super) fn root() -> io::Result<File> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    match places(&mounts).find(|place| is_root(place)) {
        Some(place) => File::open(place),
        None => private(),
    }
}

/// Mount points of cgroup2 file systems (proc_pid_mountinfo(5)).
fn places(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let place = mount.split(' ').nth(4)?;
        source.starts_with("cgroup2 ").then(|| unescape(place))
    })
}

/// Every cgroup but the root has this file (Documentation/admin-guide/cgroup-v2.rst). What a container takes for the root is
/// its own cgroup.
fn is_root(place: &Path) -> bool {
    place.join("cgroup.controllers").exists() && !place.join("cgroup.events").exists()
}

/// Spaces and the like are written as three octal digits.
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

/// The hierarchy, mounted aside.
fn private() -> io::Result<File> {
    // Where that is not the host's, what is mounted below is not the root, and so refused.
    let join_host = || {
        if let Ok(host) = File::open(HOST_NAMESPACE) {
            let _ = setns(host, CloneFlags::CLONE_NEWCGROUP);
        }
    };
    aside::mounted("cgroup2", join_host, |place| {
        if is_root(place) {
            return File::open(place);
        }
        Err(io::Error::other(
            "only part of it is visible here; remedy: run in the host's cgroup namespace, or with the host's PID namespace",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mounts: &str) -> Option<PathBuf> {
        places(mounts).next()
    }

    #[test]
    fn the_hierarchy_is_found_on_unified_and_hybrid_hosts() {
        let unified =
            "24 22 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(first(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/my\\040cgroups rw - cgroup2 cgroup2 rw\n";
        assert_eq!(first(hybrid), Some("/sys/fs/cgroup/my cgroups".into()));
        assert_eq!(first("rubbish\n\n1 2 - cgroup2 x\n"), None);
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        assert!(!is_root(place));
        fs::write(place.join("cgroup.controllers"), "").unwrap();
        assert!(is_root(place));
        fs::write(place.join("cgroup.events"), "populated 1\n").unwrap();
        assert!(!is_root(place));
    }
}
