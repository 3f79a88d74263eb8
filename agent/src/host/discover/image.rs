//! Opens files for planning. The probes are attached through the same descriptor that is read.

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use crate::host::clock::thread_cpu_time;
use reprise_core::plan::Bytes;

/// Maximum size of a file that is read, bytes. The largest known files that contain a TLS library
/// (statically linked runtimes) have about 130 MiB.
const MAX_SIZE: u64 = 512 << 20;

/// Limit of the CPU time for one file: twice as much as the limit of work costs on a slow machine.
const MAX_CPU_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 3 });

/// Identity of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Device of the file system.
    pub(super) const fn device(self) -> u64 {
        self.device
    }

    /// Inode number of the underlying file. On an overlay file system the upper bits can identify
    /// the layer (`xino`).
    pub(super) const fn underlying_inode(self) -> u64 {
        self.inode & (u64::MAX >> 16)
    }

    #[cfg(test)]
    pub(super) const fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }
}

/// An open file. It is never mapped into memory, because truncating a mapped file would kill the
/// agent.
#[derive(Debug)]
pub struct Image {
    /// The open file.
    pub file: File,
    pub(super) id: FileId,
    size: u64,
    /// The file has a name in a file system: it is neither unlinked nor in memory only.
    pub(super) is_at_rest: bool,
    /// CPU time of the thread at which the work on this file must end.
    end: Cell<Option<Duration>>,
    /// Modification time, which validates cached plans.
    pub(super) modified: (i64, i64),
}

/// Failure to open a file for planning.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The system returned an error.
    #[error("failed to read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The path leads to a device, directory or pipe.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// The file is larger than any library.
    #[error("{} has {size} bytes, more than the {MAX_SIZE} that are read", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// Size of the file, bytes.
        size: u64,
    },
}

/// Opens a file by the first of its names that succeeds.
///
/// # Errors
///
/// [`ImageError`] for the last name.
pub(super) fn open_first(names: &[PathBuf]) -> Result<Image, ImageError> {
    let mut last = Err(ImageError::NotRegular(PathBuf::new()));
    for name in names {
        last = open(name);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Opens a regular file by path, without reading from it.
///
/// # Errors
///
/// [`ImageError`] with the path of the file.
pub(super) fn open(path: &Path) -> Result<Image, ImageError> {
    let read = |source| ImageError::Read {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        // A pipe or device under the name of a library must not block the thread.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(ImageError::NotRegular(path.to_owned()));
    }
    let size = metadata.size();
    if size > MAX_SIZE {
        return Err(ImageError::TooLarge {
            path: path.to_owned(),
            size,
        });
    }
    let id = FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    Ok(Image {
        file,
        id,
        size,
        is_at_rest: metadata.nlink() > 0,
        end: Cell::new(None),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

impl Image {
    /// Limits the CPU time that this thread spends on the file from now on.
    pub(super) fn limit_cpu_time(&self) {
        self.end
            .set(thread_cpu_time().map(|now| now + MAX_CPU_TIME));
    }
}

impl Bytes for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.file.read_exact_at(buffer, offset).is_ok()
    }

    fn may_continue(&self) -> bool {
        let end = self.end.get();
        end.zip(thread_cpu_time())
            .is_none_or(|(end, now)| now < end)
    }
}
