//! The process of the current task: its cgroup, and its name, which is that of its first thread.

use super::memory::read;
use crate::{ABSENT, cgroup::ProcessLayout};
use aya_ebpf::helpers::generated;

#[unsafe(no_mangle)]
static PROCESS: ProcessLayout = ProcessLayout::UNKNOWN;
/// Not 0 where the kernel has IDs of cgroups for these programs. Elsewhere the verifier removes the
/// call.
#[unsafe(no_mangle)]
static HAS_CGROUP: u32 = 0;

/// Returns the ID of the current task's cgroup in the v2 hierarchy; 0 where it is unknown.
#[inline(always)]
#[must_use]
pub fn cgroup() -> u64 {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let has_cgroup = unsafe { core::ptr::read_volatile(&raw const HAS_CGROUP) } != 0;
    if !has_cgroup {
        return 0;
    }
    // SAFETY: no argument; the programs that call this run in the context of a task.
    unsafe { generated::bpf_get_current_cgroup_id() }
}

/// Writes the name of the current process to `target`, or that of the thread where the former
/// cannot be read.
///
/// # Safety
///
/// `target` must be valid for writes of 16 bytes.
#[inline(always)]
pub unsafe fn name(target: *mut [u8; 16]) {
    // SAFETY: as above.
    let layout = unsafe { core::ptr::read_volatile(&raw const PROCESS) };
    if layout.leader != ABSENT {
        // SAFETY: no argument; the caller guarantees `target`. The helpers check addresses
        // themselves, and write all of `target` or fail.
        unsafe {
            let task = generated::bpf_get_current_task();
            if let Some(leader) = read::<u64>(task + u64::from(layout.leader)) {
                let comm = leader + u64::from(layout.comm);
                if generated::bpf_probe_read_kernel(target.cast(), 16, comm as *const _) == 0 {
                    return;
                }
            }
        }
    }
    // SAFETY: the caller guarantees `target`; the helper writes all of it, or zeroes it.
    unsafe { generated::bpf_get_current_comm(target.cast(), 16) };
}
