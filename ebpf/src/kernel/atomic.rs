//! Atomic addition, which every BPF CPU version has. `core` has no atomic types for the target,
//! since version 1 has no compare-and-swap.

/// Adds to a number.
///
/// # Safety
///
/// `at` must be valid and aligned, and written by atomic instructions only while programs run.
#[inline(always)]
pub unsafe fn add(at: *mut u64, by: u64) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        core::arch::asm!("lock *(u64 *)({at} + 0) += {by}", at = in(reg) at, by = in(reg) by);
    }
}
