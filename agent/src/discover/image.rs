//! A file to plan from: its bytes, and the descriptor that the probes are attached through.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Largest file that is read. The largest carriers of a TLS library (statically linked runtimes) are about 130 MiB.
const MAX_SIZE: u64 = 512 << 20;

/// Identity of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// An open file, not read yet.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    file: File,
    pub(super) id: FileId,
}

/// An open file and what was in it when it was read.
#[derive(Debug)]
pub struct Image {
    /// The open file.
    pub file: File,
    /// Its content.
    pub bytes: Vec<u8>,
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

/// Opens a file by path. What it is is known then, before a byte of it is read.
///
/// # Errors
///
/// [`ImageError`] that names the file.
pub(super) fn open(path: &Path) -> Result<Opened, ImageError> {
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
    Ok(Opened {
        path: path.to_owned(),
        file,
        id,
    })
}

impl Opened {
    /// Reads it whole.
    ///
    /// # Errors
    ///
    /// [`ImageError::Read`] that names the file.
    pub(super) fn read(self) -> Result<Image, ImageError> {
        let Self { path, file, .. } = self;
        // Read, not mapped: a file truncated under a mapping would kill the agent.
        let mut bytes = Vec::new();
        match (&file).take(MAX_SIZE).read_to_end(&mut bytes) {
            Ok(_) => Ok(Image { file, bytes }),
            Err(source) => Err(ImageError::Read { path, source }),
        }
    }
}
