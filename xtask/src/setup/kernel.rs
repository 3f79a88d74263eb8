//! Requirements for the running kernel: tracefs and the bpf system call.

use std::{io, path::Path, process::Command, ptr};

use anyhow::{Context as _, Result, bail};
use nix::libc;

use crate::steps::Outcome;

/// Mount point of tracefs since Linux 4.1.
const TRACEFS: &str = "/sys/kernel/tracing";

/// Mounts tracefs, which describes the layout of tracepoints, unless it is mounted.
pub(super) fn ensure_tracefs() -> Result<Outcome> {
    let events = Path::new(TRACEFS).join("events");
    if events.is_dir() {
        return Ok(Outcome::Present(TRACEFS.to_owned()));
    }
    let status = Command::new("mount")
        .args(["-t", "tracefs", "tracefs", TRACEFS])
        .status()
        .context("failed to start mount")?;
    if !status.success() || !events.is_dir() {
        bail!(
            "failed to mount tracefs on {TRACEFS} ({status})\nremedy: use a kernel with \
             CONFIG_FTRACE; in a container, bind-mount {TRACEFS} of the host"
        );
    }
    Ok(Outcome::Done(format!("mounted {TRACEFS}")))
}

/// Checks that the bpf system call is permitted: an invalid request must fail with EINVAL.
pub(super) fn check_bpf() -> Result<Outcome> {
    // SAFETY: BPF_MAP_CREATE (command 0) with an attribute of length 0 reads and writes no memory
    // of this process (kernel/bpf/syscall.c, __sys_bpf, checks an all-zero attribute instead), and
    // always rejects map type 0.
    let result = unsafe { libc::syscall(libc::SYS_bpf, 0, ptr::null::<u8>(), 0) };
    let error = io::Error::last_os_error();
    if result == -1 && error.raw_os_error() == Some(libc::EINVAL) {
        return Ok(Outcome::Present("the bpf system call".to_owned()));
    }
    bail!(
        "failed to use the bpf system call: {error}\nremedy: use a kernel with CONFIG_BPF_SYSCALL; \
         in a container, add CAP_SYS_ADMIN and a seccomp profile that allows bpf"
    );
}
