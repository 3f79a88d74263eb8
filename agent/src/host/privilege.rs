//! What this process may do beyond observing: given up, for good, once its sensors are attached.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// What observing takes, all the time: new libraries are attached, new processes looked at, new files opened.
const NEEDED: [Capability; 3] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_PTRACE,
];

/// Gives up every other capability and all ways to get one back. Call while there is one thread, since each has its own,
/// and after all that needs more: lifting limits, listening on a low port, creating files, reading packets (CAP_NET_ADMIN before
/// 6.9).
pub fn give_up_the_rest() {
    if let Err(errno) = prctl::set_no_new_privs() {
        tracing::warn!(reason = %errno, "no_new_privs not set");
    }
    if let Err(error) = keep(&NEEDED.into()) {
        tracing::warn!(reason = %error, "capabilities not given up");
    }
}

fn keep(needed: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    // Ahead of the rest, since it takes CAP_SETPCAP. Where that is not there, no_new_privs stands in.
    for other in caps::all().difference(needed) {
        let _ = caps::drop(None, CapSet::Bounding, *other);
    }
    // Kernels before 4.3 had none.
    let _ = caps::clear(None, CapSet::Ambient);
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept = permitted.intersection(needed).copied().collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
