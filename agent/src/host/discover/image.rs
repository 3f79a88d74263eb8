//! A file to plan from, open: the descriptor that is read is the one that the probes are attached through.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use reprise_core::plan::Bytes;

/// Largest file that is read. The largest carriers of a TLS library (statically linked runtimes) are about 130 MiB.
const MAX_SIZE: u64 = 512 << 20;

/// Identity of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file system that it is in.
    pub(super) const fn device(self) -> u64 {
        self.device
    }

    /// Its number there; on an overlay, that of the file behind it, whose upper bits may tell layers apart (`xino`).
    pub(super) const fn number_behind(self) -> u64 {
        self.inode & (u64::MAX >> 16)
    }

    #[cfg(test)]
    pub(super) const fn of(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }
}

/// An open file. It is read where it is looked at, never mapped: a file truncated under a mapping would kill the agent.
#[derive(Debug)]
pub struct Image {
    /// The open file.
    pub file: File,
    pub(super) id: FileId,
    size: u64,
    /// Of its content, for what is remembered of it.
    pub(super) modified: (i64, i64),
}

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The system refused.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device, directory or pipe.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// Beyond what a library can be.
    #[error("{} has {size} bytes, more than the {MAX_SIZE} that are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
}

/// Opens a file by the first of its names that works.
///
/// # Errors
///
/// [`ImageError`] that names the file by its last name.
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

/// Opens a file by path. What it is is known then, before a byte of it is read.
///
/// # Errors
///
/// [`ImageError`] that names the file.
pub(super) fn open(path: &Path) -> Result<Image, ImageError> {
    let read = |source| ImageError::Read {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        // A pipe or device under a library's name must not stop the thread.
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
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

impl Bytes for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> bool {
        self.file.read_exact_at(into, offset).is_ok()
    }
}
