//! The libraries of one process or one file, for `reprise inspect`: found as the running agent finds them.

use std::path::Path;

use super::{
    families::{self, Family},
    image::{self, Image, ImageError},
    maps::{self, Mapped},
    rest,
};
use crate::plan;

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
                crypto: named.then(|| crypto_of(&mapped)).flatten(),
                ssl,
            });
        }
    }
    Ok(found)
}

/// The other half of a library named `libssl`, among what a process maps. Anything else that carries the library has both inside.
pub(super) fn crypto_of(mapped: &[Mapped]) -> Option<Image> {
    let crypto = mapped.iter().find(|file| families::is_crypto(&file.path))?;
    image::open_first(&crypto.names()).ok()
}

/// The TLS library in a file, with the crypto library beside it.
///
/// # Errors
///
/// [`ImageError`] that names the file.
pub fn at(path: &Path) -> Result<Found, ImageError> {
    let beside = rest::crypto_beside(path);
    Ok(Found {
        path: path.display().to_string(),
        ssl: image::open(path)?,
        crypto: beside.and_then(|path| image::open(&path).ok()),
    })
}
