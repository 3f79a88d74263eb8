//! The table of open handshakes. Every insertion and removal is counted, on the whole and per
//! process: the agent subtracts what it finds in the table, and the difference was evicted.

use crate::{
    maps::{HS_BLANK, HS_OPEN, HS_OPEN_COUNTS, HS_RELEASED, HS_TASKS},
    process,
};
use reprise_ebpf::{
    handshake::{MAX_OPEN_PER_PROCESS, OpenKey, TlsProcess, open_count},
    kernel::{Fault, atomic},
};

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h): insert, do not replace.
pub(crate) const NO_EXIST: u64 = 1;

/// Inserts a blank entry, unless the process has too many.
pub(crate) fn insert(key: &OpenKey) -> Result<(), Fault> {
    let process = process::find_or_insert(key.tgid)?;
    // SAFETY: a live LRU entry.
    let open = unsafe { (*process).open };
    let most = i64::from(MAX_OPEN_PER_PROCESS);
    if open >= most && open >= most.saturating_add(released(key.tgid)) {
        HS_OPEN_COUNTS.increment(open_count::REFUSED);
        return Err(Fault::TooManyOpen);
    }
    let blank = HS_BLANK.get(0).ok_or(Fault::MapFull)?;
    HS_OPEN
        .insert(key, blank, NO_EXIST)
        .map_err(|_| Fault::MapFull)?;
    add(process, 1);
    HS_OPEN_COUNTS.increment(open_count::BEGUN);
    Ok(())
}

/// Removes an entry; does nothing where it was evicted.
#[inline(always)]
pub(crate) fn remove(key: &OpenKey) {
    if HS_OPEN.remove(key).is_err() {
        return;
    }
    HS_OPEN_COUNTS.increment(open_count::ENDED);
    if let Some(process) = HS_TASKS.get_ptr_mut(key.tgid) {
        add(process, -1);
    }
}

/// Handshakes of this process that were evicted and that its count still contains.
fn released(tgid: u32) -> i64 {
    // SAFETY: a map value copied at once.
    unsafe { HS_RELEASED.get(tgid) }.copied().unwrap_or(0)
}

fn add(process: *mut TlsProcess, by: i64) {
    // SAFETY: a live LRU entry, whose count is written by this function only.
    unsafe { atomic::add((&raw mut (*process).open).cast(), by as u64) };
}
