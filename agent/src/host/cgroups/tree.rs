//! The directories of the v2 hierarchy.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use crate::host::cgroup;

/// Size of the file handle of a cgroup, bytes: the kernel's ID (`kernfs_encode_fh` of
/// fs/kernfs/mount.c, 5.5), before that the inode number and its generation, which together are the
/// ID.
const HANDLE: u32 = 8;

/// The root of the hierarchy.
#[derive(Debug)]
pub(super) struct Tree(File);

/// `struct file_handle` (include/linux/exportfs.h) with its bytes.
#[repr(C)]
struct Handle {
    head: libc::file_handle,
    id: [u8; HANDLE as usize],
}

impl Tree {
    /// Opens the root of the host's hierarchy.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or only a part of it is visible.
    pub(super) fn open() -> io::Result<Self> {
        cgroup::open_root().map(Self)
    }

    /// IDs and paths of all cgroups, at most `max`, the outer ones first.
    pub(super) fn read(&self, max: usize) -> Vec<(u64, String)> {
        let root = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        read_below(&root, max)
    }
}

fn read_below(root: &Path, max: usize) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut level = vec![String::new()];
    while !level.is_empty() && found.len() < max {
        let mut below = Vec::new();
        for path in level {
            // The root is behind a symbolic link.
            let directory = root.join(path.trim_start_matches('/')).join(".");
            // It may have been removed since.
            let Ok(id) = id(&directory) else { continue };
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            below.extend(
                entries.map(|entry| format!("{path}/{}", entry.file_name().to_string_lossy())),
            );
            found.push((
                id,
                if path.is_empty() {
                    "/".to_owned()
                } else {
                    path
                },
            ));
        }
        level = below;
    }
    found.truncate(max);
    found
}

/// The kernel's ID of a cgroup, from its file handle. Where a filter denies that, the inode number,
/// which is the same since 5.5.
fn id(directory: &Path) -> io::Result<u64> {
    match handle(directory) {
        Ok(id) => Ok(id),
        Err(_) => Ok(fs::metadata(directory)?.ino()),
    }
}

fn handle(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let mut handle = Handle {
        head: libc::file_handle {
            handle_bytes: HANDLE,
            handle_type: 0,
            f_handle: [],
        },
        id: [0; HANDLE as usize],
    };
    let mut mount = 0;
    // SAFETY: a path that ends with NUL, and a handle with as many bytes behind it as it declares,
    // all of which outlive the call.
    let result = unsafe {
        libc::name_to_handle_at(
            libc::AT_FDCWD,
            path.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount,
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    match (result, handle.head.handle_bytes) {
        (0, HANDLE) => Ok(u64::from_ne_bytes(handle.id)),
        (0, _) => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tempfile::TempDir;

    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "says that the test did not run")]
    fn every_cgroup_has_an_id_and_its_path_from_the_root() {
        let Ok(tree) = Tree::open() else {
            eprintln!("skipped: the root of the cgroup v2 hierarchy is not readable");
            return;
        };
        let found = tree.read(usize::MAX);
        assert_eq!(found[0].1, "/");
        let by_id: HashMap<u64, &str> = found.iter().map(|(id, path)| (*id, &**path)).collect();
        assert_eq!(by_id.len(), found.len(), "{found:?}");
        assert!(
            found
                .iter()
                .all(|(id, path)| *id != 0 && path.starts_with('/'))
        );
        assert_eq!(tree.read(1).len(), 1);
    }

    #[test]
    fn paths_are_relative_to_the_root() {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::create_dir(root.path().join("c d")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let mut paths: Vec<String> = read_below(root.path(), 10)
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        paths.sort();
        assert_eq!(paths, ["/", "/a", "/a/b", "/c d"]);
    }
}
