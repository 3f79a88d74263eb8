//! Mounts tracefs for this process only, where the host has not mounted it.

use std::{io, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use thiserror::Error;

use super::{
    lockdown::Lockdown,
    tracefs::{MOUNT_POINT, find},
};

/// Remedy if tracefs is missing.
pub(crate) const REMEDY: &str = "mount -t tracefs tracefs /sys/kernel/tracing";

/// tracefs is not mounted and was not mounted.
#[derive(Debug, Error)]
pub enum TracefsError {
    /// The kernel rejected the mount.
    #[error("no tracefs at /sys/kernel/tracing and none could be mounted there")]
    Mount(#[source] io::Error),
    /// The kernel would crash at the end of the mount.
    #[error("tracefs is closed by lockdown for confidentiality")]
    Lockdown,
}

/// Makes tracefs visible and returns its mount point. If it is not mounted, mounts it in a private
/// mount namespace, so that the host does not change. Must run before any thread is started.
///
/// Under lockdown for confidentiality nothing is mounted: tracefs would be empty, and kernels up to
/// 7.3 crash when the last mount of an empty one ends (`list_del` in `kill_anon_super`).
///
/// # Errors
///
/// [`TracefsError`].
pub(crate) fn ensure() -> Result<&'static Path, TracefsError> {
    if let Some(path) = find() {
        return Ok(path);
    }
    if Lockdown::detect() == Lockdown::Confidentiality {
        return Err(TracefsError::Lockdown);
    }
    let private = || -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // A slave mount receives later mounts of the host and propagates none to it.
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        mount(
            Some("tracefs"),
            MOUNT_POINT,
            Some("tracefs"),
            MsFlags::empty(),
            none,
        )
    };
    private().map_err(|errno| TracefsError::Mount(errno.into()))?;
    find().ok_or_else(|| TracefsError::Mount(io::ErrorKind::NotFound.into()))
}
