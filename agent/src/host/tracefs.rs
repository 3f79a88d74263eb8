//! Finds tracefs and reads the formats of tracepoints.

use std::{fs, io, path::Path};

use nix::sys::statfs::{TRACEFS_MAGIC, statfs};

/// Mount point that the kernel's documentation uses.
pub(super) const MOUNT_POINT: &str = "/sys/kernel/tracing";
/// Mount points that the kernel's documentation and aya use, in order of preference.
const MOUNT_POINTS: [&str; 2] = [MOUNT_POINT, "/sys/kernel/debug/tracing"];

/// State of tracefs in this mount namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is mounted and has tracepoints.
    Usable,
    /// It is mounted and has no files, as under lockdown for confidentiality.
    Empty,
    /// It is not mounted.
    NotMounted,
}

/// Determines the state of tracefs.
pub(super) fn state() -> State {
    if find().is_some() {
        return State::Usable;
    }
    // The list of mounts also contains hidden ones.
    let is_tracefs =
        |path: &str| statfs(path).is_ok_and(|system| system.filesystem_type() == TRACEFS_MAGIC);
    match MOUNT_POINTS.into_iter().any(is_tracefs) {
        true => State::Empty,
        false => State::NotMounted,
    }
}

/// Mount point of tracefs.
#[must_use]
pub(crate) fn find() -> Option<&'static Path> {
    MOUNT_POINTS
        .into_iter()
        .map(Path::new)
        .find(|path| path.join("events").is_dir())
}

/// Reads `events/CATEGORY/NAME/format`.
///
/// # Errors
///
/// tracefs is not mounted, or the kernel does not have the tracepoint.
pub(crate) fn format(event: &str) -> io::Result<String> {
    let tracefs = find().ok_or(io::ErrorKind::NotFound)?;
    fs::read_to_string(tracefs.join("events").join(event).join("format"))
}
