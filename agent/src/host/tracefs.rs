//! Finds tracefs, or mounts it for this process only.

use std::{fs, io, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use thiserror::Error;

/// Mount points that the kernel's documentation and aya use, in order of preference.
const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Remedy if tracefs is missing.
pub(crate) const REMEDY: &str = "mount -t tracefs tracefs /sys/kernel/tracing";

/// tracefs is not mounted and could not be mounted.
#[derive(Debug, Error)]
#[error("no tracefs at /sys/kernel/tracing and none could be mounted there")]
pub struct TracefsError(#[source] io::Error);

/// Makes tracefs visible and returns its mount point. If it is not mounted, mounts it in a private
/// mount namespace, so that the host does not change. Must run before any thread is started.
///
/// # Errors
///
/// [`TracefsError`] if the kernel rejects the mount.
pub(crate) fn ensure() -> Result<&'static Path, TracefsError> {
    if let Some(path) = find() {
        return Ok(path);
    }
    let private = || -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // A slave mount receives later mounts of the host and propagates none to it.
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        mount(
            Some("tracefs"),
            MOUNT_POINTS[0],
            Some("tracefs"),
            MsFlags::empty(),
            none,
        )
    };
    private().map_err(|errno| TracefsError(errno.into()))?;
    find().ok_or_else(|| TracefsError(io::ErrorKind::NotFound.into()))
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
