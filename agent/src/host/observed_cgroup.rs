//! The cgroup to which `--cgroup` restricts the observation, with all cgroups below it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use super::cgroup;

/// An open directory of the cgroup v2 hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct ObservedCgroup {
    directory: Arc<File>,
    /// Its inode number, which is also the kernel's ID of the cgroup.
    pub(crate) inode: u64,
}

/// The cgroup cannot be observed.
#[derive(Debug, Error)]
pub(crate) enum CgroupError {
    /// No process of this host is in a cgroup v2, or its root is not visible.
    #[error("failed to open the cgroup v2 hierarchy")]
    Hierarchy(#[source] io::Error),
    /// The directory cannot be opened.
    #[error("failed to open the cgroup")]
    Open(#[source] io::Error),
    /// The directory belongs to a hierarchy of cgroup v1, or to another file system.
    #[error("not a directory of the cgroup v2 hierarchy")]
    OtherFileSystem,
}

impl CgroupError {
    /// What the operator can do.
    pub(crate) const fn remedy(&self) -> &'static str {
        match self {
            Self::Hierarchy(_) => {
                "use a kernel with CONFIG_CGROUPS and mount cgroup2, or omit --cgroup"
            }
            Self::Open(_) | Self::OtherFileSystem => {
                "name a directory below the mount point of cgroup2 (findmnt -t cgroup2); \
                 /proc/PID/cgroup names that of a process after `0::`"
            }
        }
    }
}

impl ObservedCgroup {
    /// Opens a cgroup by its directory, absolute or relative to the root of the hierarchy. `None`
    /// for the root itself, which contains the whole host.
    ///
    /// # Errors
    ///
    /// [`CgroupError`].
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, CgroupError> {
        let directory = if path.is_absolute() {
            File::open(path)
        } else {
            let root = cgroup::open_root().map_err(CgroupError::Hierarchy)?;
            File::open(path_of(root.as_raw_fd()).join(path))
        };
        let directory = directory.map_err(CgroupError::Open)?;
        let shown = path_of(directory.as_raw_fd());
        if !shown.join("cgroup.controllers").exists() {
            return Err(CgroupError::OtherFileSystem);
        }
        if cgroup::is_root(&shown) {
            return Ok(None);
        }
        let inode = directory.metadata().map_err(CgroupError::Open)?.ino();
        Ok(Some(Self {
            directory: Arc::new(directory),
            inode,
        }))
    }

    /// IDs of the processes in the cgroup and below it. A cgroup that is removed meanwhile has
    /// none.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut directories = vec![path_of(self.directory.as_raw_fd())];
        while let Some(directory) = directories.pop() {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            // 0 is a process of another PID namespace.
            let listed = text.lines().filter_map(|line| line.parse::<u32>().ok());
            pids.extend(listed.filter(|pid| *pid != 0));
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.extend(below.map(|entry| entry.path()));
        }
        pids
    }
}

impl AsFd for ObservedCgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The path of an open directory, which may be in a mount that no path leads to.
fn path_of(directory: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{directory}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_directories_are_rejected_with_a_remedy() {
        let error = ObservedCgroup::open(Path::new("/proc")).unwrap_err();
        assert!(matches!(error, CgroupError::OtherFileSystem));
        assert!(error.remedy().contains("findmnt"));
        let error = ObservedCgroup::open(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, CgroupError::Open(_)));
    }

    #[test]
    fn processes_below_are_listed() {
        let place = tempfile::TempDir::new().unwrap();
        let below = place.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(place.path().join("cgroup.controllers"), "").unwrap();
        fs::write(place.path().join("cgroup.type"), "domain").unwrap();
        fs::write(place.path().join("cgroup.procs"), "1\n0\n").unwrap();
        fs::write(below.join("cgroup.procs"), "23\n").unwrap();
        let cgroup = ObservedCgroup::open(place.path()).unwrap().unwrap();
        let mut pids = cgroup.pids();
        pids.sort_unstable();
        assert_eq!(pids, [1, 23]);
        fs::remove_file(place.path().join("cgroup.type")).unwrap();
        assert!(
            ObservedCgroup::open(place.path()).unwrap().is_none(),
            "the root"
        );
    }
}
