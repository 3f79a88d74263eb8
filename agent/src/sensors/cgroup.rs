//! Finds the root of the cgroup v2 hierarchy, which every process and so every socket belongs to, whatever the hierarchy
//! that the host's manager uses; or mounts one that only this process sees.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// Where a hierarchy of our own is mounted, for a moment; hides what lies there from nobody else.
const PLACE: &str = "/mnt";

/// The root directory of the hierarchy, open.
///
/// # Errors
///
/// The kernel has no cgroup v2, or refuses the mount.
pub(super) fn root() -> io::Result<File> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    match find(&mounts) {
        Some(place) => File::open(place),
        None => private(),
    }
}

/// The mount point of a cgroup2 file system that shows the hierarchy's root (proc_pid_mountinfo(5)).
fn find(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let whole = root == "/" && source.starts_with("cgroup2 ");
        whole.then(|| unescape(place))
    })
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

/// Mounts the hierarchy in a mount namespace of this thread's own and opens it there. The open file outlives mount and
/// namespace: a thread of its own, so that no other thread's view changes.
fn private() -> io::Result<File> {
    let open = || -> io::Result<File> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        let kind = Some("cgroup2");
        mount(kind, PLACE, kind, MsFlags::empty(), none)?;
        let root = File::open(Path::new(PLACE));
        umount2(PLACE, MntFlags::MNT_DETACH)?;
        root
    };
    std::thread::scope(|scope| scope.spawn(open).join())
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_hierarchy_is_found_on_unified_and_hybrid_hosts() {
        let unified =
            "24 22 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/my\\040cgroups rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(hybrid), Some("/sys/fs/cgroup/my cgroups".into()));
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_the_root() {
        let part = "41 31 0:38 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(find(part), None);
        assert_eq!(find("rubbish\n\n1 2 - cgroup2 x\n"), None);
    }
}
