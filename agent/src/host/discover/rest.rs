//! Libraries at rest: in the directories where distributions keep them, so that a short-lived first user is not missed.

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

/// Directories where distributions keep shared libraries; architecture directories below `lib` and `usr/lib` are looked into too.
const DIRECTORIES: [&str; 5] = ["lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib"];
/// The host's root, seen from a container that shares the host's PID namespace; else its own.
const ROOTS: [&str; 2] = ["/proc/1/root", "/"];

/// The library files in the usual directories, and their paths as the host sees them.
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

/// The first root that can be read.
fn root() -> Option<&'static Path> {
    let mut roots = ROOTS.into_iter().map(Path::new);
    roots.find(|root| fs::read_dir(root).is_ok())
}

/// The device of the host's root file system; 0 where nothing can be read.
pub(super) fn root_device() -> u64 {
    let metadata = root().and_then(|root| fs::metadata(root).ok());
    metadata.map_or(0, |metadata| metadata.dev())
}

fn collect(directory: &Path, root: &Path, found: &mut Vec<(PathBuf, String)>) {
    // Links lead to files that are found by their own name.
    for path in entries(directory, FileType::is_file) {
        let named = path
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"libssl.so"));
        if named && families::of(&path) == Some(Family::OpenSsl) {
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

/// The crypto library beside a library: the one it asks for, else libssl.so.3 goes with libcrypto.so.3.
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
    fn halves_have_names_alike() {
        let name = counterpart(Path::new("/usr/lib/libssl.so.1.1"));
        assert_eq!(name.as_deref(), Some(b"libcrypto.so.1.1".as_slice()));
        assert_eq!(counterpart(Path::new("/usr/bin/node")), None);
    }
}
