//! File systems mounted by a test, unmounted when dropped.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::poll::{DEADLINE, poll_until};

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted {
    /// Mount point.
    pub at: PathBuf,
    // Removed together with the mount point.
    _directory: TempDir,
    /// File system of the upper directory of an overlay.
    _scratch: Option<Box<Mounted>>,
}

impl Mounted {
    /// Mounts an empty tmpfs.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn tmpfs() -> Self {
        Self::mount("tmpfs", "size=256m", None)
    }

    /// Mounts an empty tmpfs of one megabyte where every user may write.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn small() -> Self {
        Self::mount("tmpfs", "size=1m,mode=1777", None)
    }

    /// Mounts an overlay over `lower`, as containers do over their image.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn overlay(lower: &Path) -> Self {
        let scratch = Self::tmpfs();
        let [upper, work] = ["upper", "work"].map(|name| scratch.at.join(name));
        for directory in [&upper, &work] {
            std::fs::create_dir(directory).expect("failed to create a directory");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        Self::mount("overlay", &options, Some(Box::new(scratch)))
    }

    fn mount(kind: &str, options: &str, scratch: Option<Box<Self>>) -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let at = directory.path().to_owned();
        mount(Some(kind), &at, Some(kind), MsFlags::empty(), Some(options))
            .unwrap_or_else(|error| panic!("failed to mount {kind} ({options}): {error}"));
        Self {
            at,
            _directory: directory,
            _scratch: scratch,
        }
    }

    /// Unmounts the file system; waits until it is not in use.
    ///
    /// # Panics
    /// If it is in use at the deadline.
    pub fn release(&self) {
        let what = format!("{} is not in use", self.at.display());
        poll_until(&what, DEADLINE, || {
            umount2(&self.at, MntFlags::empty()).map_err(|error| error.to_string())
        });
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The test may have unmounted it.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}
