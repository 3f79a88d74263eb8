//! The C library's allocator, told to give large blocks back.

/// Size from which a block is the system's and goes back to it when freed, bytes. glibc starts with this one, but raises it up to
/// 32 MiB as blocks are freed, and what planning a large program once took would stay with the agent (mallopt(3)).
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Call before any thread is started.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet, as the caller sees to; it fails for unknown parameters alone, and then nothing changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
