//! Reads of the kernel's memory.

use aya_ebpf::helpers::bpf_probe_read_kernel;

/// Reads an integer; `None` where the address cannot be read.
#[inline(always)]
#[must_use]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails instead of faulting; `T` is an integer
    // here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
