//! Files of the source tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns all files below a directory that have one of these extensions, without build
/// directories.
pub(super) fn with_extensions(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).expect("the source tree is readable");
    for entry in entries {
        let path = entry.expect("the source tree is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                found.extend(with_extensions(&path, extensions));
            }
        } else if path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}
