//! The canary process: installs a strict seccomp filter, then calls the probed function.

use std::{collections::BTreeMap, io};

use nix::unistd;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::{functions::function, kind::ProbeKind};

/// Sent after the calls without a probe.
pub(super) const READY: u8 = b'r';
/// Received before the calls with a probe.
pub(super) const GO: u8 = b'\n';
/// Sent if the calls with a probe return the same as those without.
pub(super) const SAME_RESULT: u8 = b'y';
/// Sent if they return something else.
const OTHER_RESULT: u8 = b'n';
/// Number of calls before and after the probe is attached. One call is not enough: the kernel turns
/// a five-byte `nop` into a system call at its first hit.
pub(super) const CALLS: u64 = 8;

/// Main function of the canary process. Exits the process; returns only if no seccomp filter could
/// be installed, after it has sent the reason.
pub fn child_main(kind: ProbeKind) {
    let function = function(kind);
    if let Err(reason) = install_filter() {
        send(reason.as_bytes());
        return;
    }
    // From here on every system call that the filter does not allow kills the process. That
    // excludes allocation and `std::process::exit`.
    let before = call_repeatedly(function);
    send(&[READY]);
    let mut go = [0];
    if unistd::read(io::stdin(), &mut go) == Ok(1) {
        let same = call_repeatedly(function) == before;
        send(&[if same { SAME_RESULT } else { OTHER_RESULT }]);
    }
    // SAFETY: `_exit` runs no code of this process; nothing has to be flushed or freed.
    unsafe { libc::_exit(0) }
}

/// Writes to the agent, which treats a missing answer as inconclusive.
fn send(bytes: &[u8]) {
    let _ = unistd::write(io::stdout(), bytes);
}

fn call_repeatedly(function: extern "C" fn(u64) -> u64) -> u64 {
    let function = std::hint::black_box(function);
    (0..CALLS).fold(0, |sum, call| function(sum ^ call))
}

/// Allows the system calls for communication, exit and return from a signal; all others kill.
fn install_filter() -> Result<(), String> {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
    ];
    let rules: BTreeMap<_, _> = allowed.into_iter().map(|call| (call, vec![])).collect();
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|error| format!("no seccomp filter for this machine: {error}"))?;
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )
    .and_then(TryInto::try_into)
    .map_err(|error| format!("failed to build the seccomp filter: {error}"))?;
    seccompiler::apply_filter(&program)
        .map_err(|error| format!("failed to install the seccomp filter: {error}"))
}
