//! Hosts with missing requirements: a binary that every user can read, and hidden directories.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::binary::binary;

/// Copies the binary to a directory that every user can read.
///
/// # Panics
/// If it cannot be copied.
#[must_use]
pub fn public_copy() -> (TempDir, String) {
    let directory = TempDir::new().expect("failed to create a directory");
    let readable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), readable.clone())
        .expect("failed to open up the directory");
    let path = directory.path().join("reprise");
    fs::copy(binary(), &path).expect("failed to copy the binary");
    fs::set_permissions(&path, readable).expect("failed to open up the copy");
    let path = path.display().to_string();
    (directory, path)
}

/// Returns a command prefix that hides the contents of `directories` in a new mount namespace.
#[must_use]
pub fn hiding(directories: &str) -> [String; 6] {
    let hide =
        format!("for d in {directories}; do mount -t tmpfs none $d || exit 99; done; exec \"$@\"");
    ["unshare", "-m", "sh", "-c", &hide, "sh"].map(str::to_owned)
}
