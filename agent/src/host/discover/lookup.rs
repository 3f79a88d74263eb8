//! The libraries of one process or one file, for `reprise inspect`: found as the running agent finds them.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::{
    families::{self, Family},
    image::{self, Image, ImageError},
    maps::{self, Mapped},
    rest,
};
use reprise_core::plan;

/// One library file, and the crypto library that goes with it.
#[derive(Debug)]
pub struct Found {
    /// Its path.
    pub path: String,
    /// The library.
    pub ssl: Image,
    /// The other half, where that is another file.
    pub crypto: Option<Image>,
}

/// The files that a process maps and that carry a TLS library, or may.
///
/// # Errors
///
/// In words, where there is no such process, or it cannot be read.
pub fn of_process(pid: u32) -> Result<Vec<Found>, String> {
    if !maps::exists(pid) {
        return Err(format!("there is no process {pid}"));
    }
    let mapped = maps::mapped(pid)
        .map_err(|error| format!("failed to read what process {pid} maps: {error}"))?;
    let mut found = Vec::new();
    for file in &mapped {
        let Ok(ssl) = image::open_first(&file.names()) else {
            continue;
        };
        let named = families::of(&file.path) == Some(Family::OpenSsl);
        if named || plan::defines_tls(&ssl) || plan::by_text(&ssl).is_some() {
            found.push(Found {
                path: file.path.display().to_string(),
                crypto: named
                    .then(|| crypto_of(&mapped, &file.path, &ssl))
                    .flatten(),
                ssl,
            });
        }
    }
    Ok(found)
}

/// The other half of the library `ssl`, mapped from `path`, among what its process maps: the one it asks for, or one beside it.
/// Anything that carries the library under another name has both halves inside.
pub(super) fn crypto_of(mapped: &[Mapped], path: &Path, ssl: &Image) -> Option<Image> {
    let needed = plan::needed_crypto(ssl);
    let rank = |file: &Mapped| {
        let name = file.path.file_name().map(OsStr::as_bytes);
        let asked = needed.as_deref().zip(name);
        let asked = asked.is_some_and(|(needed, name)| name.starts_with(needed));
        (!asked, file.path.parent() != path.parent())
    };
    let crypto = mapped
        .iter()
        .filter(|file| families::is_crypto(&file.path))
        .min_by_key(|file| rank(file))?;
    image::open_first(&crypto.names()).ok()
}

/// The TLS library in a file, with the crypto library beside it.
///
/// # Errors
///
/// [`ImageError`] that names the file.
pub fn at(path: &Path) -> Result<Found, ImageError> {
    let ssl = image::open(path)?;
    Ok(Found {
        path: path.display().to_string(),
        crypto: rest::crypto_beside(path, &ssl),
        ssl,
    })
}
