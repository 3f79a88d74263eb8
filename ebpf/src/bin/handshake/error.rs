//! Errors that the library raises: the first of each drive, and the last of each thread outside of
//! drives.

use crate::{
    maps::{Frame, HS_ACTIVE, HS_ERRORS, HS_OPEN, LastError},
    user,
};
use aya_ebpf::programs::ProbeContext;
use reprise_ebpf::{
    handshake::{ErrorCookie, OpenKey, REASON_OTHER},
    kernel::{Fault, now},
};

/// Maximum time between an error and what the library does about it in the same call, nanoseconds.
const SAME_CALL_NS: u64 = 10_000_000;

pub(crate) fn try_error(ctx: &ProbeContext) -> Result<(), Fault> {
    let library: u64 = ctx.arg(0).ok_or(Fault::Read)?;
    let probe = ErrorCookie::from_bits(user::cookie(ctx));
    let (second, third) = user::second_and_third(ctx);
    let reason = if probe.reason_arg == 1 { second } else { third } as u32;
    if library as u32 != probe.library {
        return Ok(());
    }
    let reason = if reason < probe.first_reason {
        REASON_OTHER
    } else {
        reason
    };
    let pid_tgid = user::pid_tgid();
    // SAFETY: a map value copied at once.
    let Some(Frame { ssl, .. }) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() else {
        let error = LastError {
            time_ns: now(),
            reason,
            reserved: 0,
        };
        return HS_ERRORS
            .insert(pid_tgid, error, 0)
            .map_err(|_| Fault::MapFull);
    };
    let key = OpenKey::new((pid_tgid >> 32) as u32, ssl);
    if let Some(open) = HS_OPEN.get_ptr_mut(key) {
        // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else
        // writes it.
        let open = unsafe { &mut *open };
        if open.reason == 0 {
            open.reason = reason;
        }
    }
    Ok(())
}

/// Returns the error that the current thread has just raised outside of a drive; 0 for none.
pub(crate) fn just_raised(now: u64) -> u32 {
    // SAFETY: a map value copied at once.
    match unsafe { HS_ERRORS.get(user::pid_tgid()) }.copied() {
        Some(error) if now.saturating_sub(error.time_ns) < SAME_CALL_NS => error.reason,
        _ => 0,
    }
}
