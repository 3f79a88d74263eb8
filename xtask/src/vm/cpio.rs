//! cpio archives, the format of an initial root file system (initramfs).

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::process::run;

/// Packs the contents of `directory` into `archive`, in the format that the kernel unpacks.
pub(super) fn pack(directory: &Path, archive: &Path) -> Result<()> {
    let script = "cd \"$1\" && find . | busybox cpio -o -H newc > \"$2\"";
    run(Command::new("bash")
        .args(["-o", "pipefail", "-c", script, "bash"])
        .arg(directory)
        .arg(archive))
}
