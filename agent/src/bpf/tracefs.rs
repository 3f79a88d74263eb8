//! Finds tracefs, or mounts one that only this process sees.

use std::{fs, io, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use thiserror::Error;

/// The mount points where both the kernel's documentation and aya look, preferred first.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What to do where there is none.
pub const REMEDY: &str = "mount -t tracefs tracefs /sys/kernel/tracing";

/// No tracefs, and none could be mounted.
#[derive(Debug, Error)]
#[error("no tracefs at /sys/kernel/tracing and none could be mounted there")]
pub struct NoTracefs(#[source] io::Error);

/// Makes sure that tracefs is visible. Where it is not, mounts it in a mount namespace of this process's own, so that the host
/// stays as it was. Call before any thread is started.
///
/// # Errors
///
/// [`NoTracefs`] where the mount is refused.
pub fn ensure() -> Result<&'static Path, NoTracefs> {
    if let Some(place) = find() {
        return Ok(place);
    }
    let private = || -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Slave: later mounts of the host still arrive here, ours do not go there.
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        mount(
            Some("tracefs"),
            PLACES[0],
            Some("tracefs"),
            MsFlags::empty(),
            none,
        )
    };
    private().map_err(|errno| NoTracefs(errno.into()))?;
    find().ok_or_else(|| NoTracefs(io::ErrorKind::NotFound.into()))
}

/// Where tracefs is mounted.
#[must_use]
pub fn find() -> Option<&'static Path> {
    PLACES
        .into_iter()
        .map(Path::new)
        .find(|place| place.join("events").is_dir())
}

/// The text of `events/CATEGORY/NAME/format`.
pub(super) fn format(event: &str) -> io::Result<String> {
    let place = find().ok_or(io::ErrorKind::NotFound)?;
    fs::read_to_string(place.join("events").join(event).join("format"))
}
