//! Reads of the observed process's memory and of the probe's registers.

use aya_ebpf::{helpers, programs::ProbeContext};
use reprise_ebpf::{ABSENT, handshake::Field, kernel::Fault};

/// Returns the address of a field of the connection object at `ssl`; `None` where it is unknown or
/// a pointer to it is null.
#[inline(always)]
fn address(ssl: u64, field: &Field) -> Result<Option<u64>, Fault> {
    if field.offset == ABSENT {
        return Ok(None);
    }
    let mut base = ssl;
    if field.through[0] != ABSENT {
        base = read(base.wrapping_add(u64::from(field.through[0])))?;
        if base != 0 && field.through[1] != ABSENT {
            base = read(base.wrapping_add(u64::from(field.through[1])))?;
        }
    }
    Ok((base != 0).then(|| base.wrapping_add(u64::from(field.offset))))
}

/// Reads a number of the connection object at `ssl`; `None` as for [`address`].
pub(crate) fn number(ssl: u64, field: &Field) -> Result<Option<u32>, Fault> {
    let Some(address) = address(ssl, field)? else {
        return Ok(None);
    };
    let word: u32 = read(address)?;
    Ok(Some(word & field.mask))
}

/// Reads a pointer in the connection object at `ssl`; `None` as for [`address`].
pub(crate) fn pointer(ssl: u64, field: &Field) -> Result<Option<u64>, Fault> {
    let Some(address) = address(ssl, field)? else {
        return Ok(None);
    };
    read(address).map(Some)
}

/// Reads a word of the current process.
pub(crate) fn read<T: Copy>(address: u64) -> Result<T, Fault> {
    // SAFETY: bpf_probe_read_user checks the address itself and fails instead of faulting; `T` is
    // an integer here.
    unsafe { helpers::bpf_probe_read_user(address as *const T) }.map_err(|_| Fault::Read)
}

/// Returns the stack pointer at the probed instruction.
pub(crate) fn stack_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: the kernel passes a valid pt_regs for the life of the program.
    unsafe {
        #[cfg(bpf_target_arch = "x86_64")]
        {
            (*ctx.regs).rsp
        }
        #[cfg(bpf_target_arch = "aarch64")]
        {
            (*ctx.regs).sp
        }
    }
}

/// Returns the second and third argument of the probed function. Volatile, since the compiler would
/// otherwise select between their addresses, and the verifier refuses a computed offset into the
/// registers.
pub(crate) fn second_and_third(ctx: &ProbeContext) -> (u64, u64) {
    // SAFETY: the kernel passes a valid pt_regs for the life of the program.
    unsafe {
        #[cfg(bpf_target_arch = "x86_64")]
        {
            (
                core::ptr::read_volatile(&raw const (*ctx.regs).rsi),
                core::ptr::read_volatile(&raw const (*ctx.regs).rdx),
            )
        }
        #[cfg(bpf_target_arch = "aarch64")]
        {
            (
                core::ptr::read_volatile(&raw const (*ctx.regs).regs[1]),
                core::ptr::read_volatile(&raw const (*ctx.regs).regs[2]),
            )
        }
    }
}

/// Returns the probed function's result, at one of its return instructions.
pub(crate) fn returned(ctx: &ProbeContext) -> i32 {
    // SAFETY: the kernel passes a valid pt_regs for the life of the program.
    unsafe {
        #[cfg(bpf_target_arch = "x86_64")]
        {
            (*ctx.regs).rax as i32
        }
        #[cfg(bpf_target_arch = "aarch64")]
        {
            (*ctx.regs).regs[0] as i32
        }
    }
}

/// Result of [`cookie`] where attach points have no cookies. The agent then loads one copy of the
/// programs per value.
#[unsafe(no_mangle)]
static COOKIE: u64 = 0;
/// Not 0 where attach points have cookies (5.15). The verifier knows the value and skips the branch
/// that it excludes: since 5.5 (commit a23740ec43ba), thus in every kernel with ring buffers, and
/// only in the objects for those.
#[cfg(feature = "ring")]
#[unsafe(no_mangle)]
static HAS_COOKIES: u32 = 0;

/// Returns the cookie of the attach point.
pub(crate) fn cookie(ctx: &ProbeContext) -> u64 {
    #[cfg(feature = "ring")]
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    if unsafe { core::ptr::read_volatile(&raw const HAS_COOKIES) } != 0 {
        use aya_ebpf::EbpfContext as _;
        // SAFETY: ctx is the context this program was called with.
        return unsafe { helpers::bpf_get_attach_cookie(ctx.as_ptr()) };
    }
    let _ = ctx;
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const COOKIE) }
}

/// Returns thread-group and thread ID as the kernel packs them.
pub(crate) fn pid_tgid() -> u64 {
    helpers::bpf_get_current_pid_tgid()
}

/// Copies a field of 32 bytes to `target`; zeroes and `false` where that fails.
///
/// # Safety
///
/// `target` must be valid for writes of 32 bytes.
pub(crate) unsafe fn copy(target: *mut [u8; 32], ssl: u64, field: &Field) -> bool {
    let from = match address(ssl, field) {
        Ok(Some(address)) => address,
        _ => 0,
    };
    // SAFETY: the caller guarantees `target`.
    unsafe { copy_from(target, from) }
}

/// Copies 32 bytes at `from` to `target`; zeroes and `false` where that fails.
///
/// # Safety
///
/// `target` must be valid for writes of 32 bytes.
pub(crate) unsafe fn copy_from(target: *mut [u8; 32], from: u64) -> bool {
    // SAFETY: the caller guarantees `target`; the helper checks `from` and zeroes `target` when it
    // cannot read (null included, so that no byte stays uninitialised).
    unsafe { helpers::generated::bpf_probe_read_user(target.cast(), 32, from as *const _) == 0 }
}
