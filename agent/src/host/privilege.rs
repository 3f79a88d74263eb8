//! Drops the capabilities that the agent does not need once its sensors are attached.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// Capabilities that the agent needs at run time: it attaches new libraries, reads the mappings of
/// new processes and opens new files.
const NEEDED: [Capability; 3] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_PTRACE,
];

/// Drops every other capability of this thread, and of those that it starts later, irrevocably.
/// Must run on each thread that exists, since capabilities belong to a thread, and after everything
/// that needs more: raising limits, listening on a low port, creating files, and attaching packet
/// programs (CAP_NET_ADMIN before 6.9).
pub(crate) fn drop_capabilities() {
    if let Err(errno) = prctl::set_no_new_privs() {
        tracing::warn!(reason = %errno, "failed to set no_new_privs");
    }
    if let Err(error) = retain(&NEEDED.into()) {
        tracing::warn!(reason = %error, "failed to drop capabilities");
    }
}

fn retain(needed: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    // The bounding set comes first because changing it needs CAP_SETPCAP. Without that capability
    // no_new_privs has the same effect.
    for other in caps::all().difference(needed) {
        let _ = caps::drop(None, CapSet::Bounding, *other);
    }
    // Kernels before 4.3 have no ambient set.
    let _ = caps::clear(None, CapSet::Ambient);
    let permitted = caps::read(None, CapSet::Permitted)?;
    let retained = permitted.intersection(needed).copied().collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &retained)?;
    caps::set(None, CapSet::Permitted, &retained)
}
