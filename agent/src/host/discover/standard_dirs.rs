//! Finds libraries in the standard directories of distributions, so that a short-lived first user
//! is not missed.

use std::{
    ffi::OsStr,
    fs::{self, FileType},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    families::{self, Family},
    image::{self, Image},
};
use reprise_core::plan;

/// Library directories of distributions. Their subdirectories, such as architecture directories,
/// are also searched.
const DIRECTORIES: [&str; 5] = ["lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib"];
/// The host's root as seen from a container in the host's PID namespace, or the own root.
const ROOTS: [&str; 2] = ["/proc/1/root", "/"];

/// The library files in the standard directories, with their paths on the host.
pub(super) fn libraries() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let Some(root) = root() else {
        return found;
    };
    for directory in DIRECTORIES {
        let directory = root.join(directory);
        for inner in entries(&directory, FileType::is_dir) {
            collect(&inner, root, &mut found);
        }
        collect(&directory, root, &mut found);
    }
    found
}

/// The first readable root.
fn root() -> Option<&'static Path> {
    let mut roots = ROOTS.into_iter().map(Path::new);
    roots.find(|root| fs::read_dir(root).is_ok())
}

/// Device of the host's root file system; 0 if no root is readable.
pub(super) fn root_device() -> u64 {
    let metadata = root().and_then(|root| fs::metadata(root).ok());
    metadata.map_or(0, |metadata| metadata.dev())
}

fn collect(directory: &Path, root: &Path, found: &mut Vec<(PathBuf, String)>) {
    // Symbolic links are skipped because their targets are found by name.
    for path in entries(directory, FileType::is_file) {
        let named = path
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"libssl.so"));
        if named && families::from_path(&path) == Some(Family::OpenSsl) {
            let shown = Path::new("/").join(path.strip_prefix(root).unwrap_or(&path));
            found.push((path, shown.display().to_string()));
        }
    }
}

fn entries(directory: &Path, wanted: fn(&FileType) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| wanted(&kind)))
        .map(|entry| entry.path())
        .collect()
}

/// The crypto library in the directory of a library: the one that it depends on, or else the one
/// with the same version suffix.
pub(super) fn crypto_beside(path: &Path, ssl: &Image) -> Option<Image> {
    let names = [plan::needed_crypto(ssl), counterpart(path)];
    let beside = names
        .into_iter()
        .flatten()
        .map(|name| path.with_file_name(OsStr::from_bytes(&name)));
    image::open_first(&beside.collect::<Vec<_>>()).ok()
}

fn counterpart(path: &Path) -> Option<Vec<u8>> {
    let name = path.file_name().map(OsStr::as_bytes)?;
    let at = name.windows(4).position(|window| window == b".so.")?;
    let mut counterpart = b"libcrypto".to_vec();
    counterpart.extend(name.get(at..)?);
    Some(counterpart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crypto_library_has_the_same_version_suffix() {
        let name = counterpart(Path::new("/usr/lib/libssl.so.1.1"));
        assert_eq!(name.as_deref(), Some(b"libcrypto.so.1.1".as_slice()));
        assert_eq!(counterpart(Path::new("/usr/bin/node")), None);
    }
}
