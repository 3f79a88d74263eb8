//! Finds the libraries of one process or file for `reprise inspect`, in the same way as the running
//! agent.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::{
    families::{self, Family},
    image::{self, Image, ImageError},
    process_maps::{self, MappedFile},
    standard_dirs,
};
use reprise_core::plan;

/// A library file and its crypto library.
#[derive(Debug)]
pub struct LibraryFile {
    /// Path of the library.
    pub path: String,
    /// The open library.
    pub ssl: Image,
    /// The open crypto library, if it is a separate file.
    pub crypto: Option<Image>,
}

/// The files that a process maps and that may contain a TLS library.
///
/// # Errors
///
/// A description if the process does not exist or cannot be read.
pub fn from_process(pid: u32) -> Result<Vec<LibraryFile>, String> {
    if !process_maps::exists(pid) {
        return Err(format!("there is no process {pid}"));
    }
    let mapped = process_maps::mapped(pid, false)
        .map_err(|error| format!("failed to read what process {pid} maps: {error}"))?;
    let mapped = mapped.files;
    let mut found = Vec::new();
    for file in &mapped {
        let Ok(ssl) = image::open_first(&file.names()) else {
            continue;
        };
        let named = families::from_path(&file.path) == Some(Family::OpenSsl);
        if named
            || plan::defines_tls(&ssl)
            || plan::by_text(&ssl).is_ok_and(|carrier| carrier.is_some())
        {
            found.push(LibraryFile {
                path: file.shown(),
                crypto: named
                    .then(|| crypto_of(&mapped, &file.path, &ssl))
                    .flatten(),
                ssl,
            });
        }
    }
    Ok(found)
}

/// The crypto library of `ssl`, which is mapped from `path`, among the mapped files: the one that
/// it depends on, or one in the same directory. Files with other names contain both libraries.
pub(super) fn crypto_of(mapped: &[MappedFile], path: &Path, ssl: &Image) -> Option<Image> {
    let needed = plan::needed_crypto(ssl);
    let rank = |file: &MappedFile| {
        let name = file.path.file_name().map(OsStr::as_bytes);
        let required = needed.as_deref().zip(name);
        let required = required.is_some_and(|(needed, name)| name.starts_with(needed));
        (!required, file.path.parent() != path.parent())
    };
    let crypto = mapped
        .iter()
        .filter(|file| families::is_crypto(&file.path))
        .min_by_key(|file| rank(file))?;
    image::open_first(&crypto.names()).ok()
}

/// The TLS library in a file, with the crypto library of the same directory.
///
/// # Errors
///
/// The file cannot be opened, is not a regular file, or is too large.
pub fn from_file(path: &Path) -> Result<LibraryFile, ImageError> {
    let ssl = image::open(path)?;
    Ok(LibraryFile {
        path: path.display().to_string(),
        crypto: standard_dirs::crypto_beside(path, &ssl),
        ssl,
    })
}
