//! Configures the C library's allocator to return large blocks to the system.

/// Size from which blocks are mapped individually and returned to the system when freed, bytes.
/// This is glibc's initial threshold; glibc raises it up to 32 MiB as blocks are freed, after which
/// the memory for planning one large program would stay with the agent (mallopt(3)).
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 128 << 10;

/// Fixes the threshold for individually mapped blocks. Must run before any thread is started.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the caller ensures that no other thread runs. The call fails only for unknown
    // parameters, and then changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}
