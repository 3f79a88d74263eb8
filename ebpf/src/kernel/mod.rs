//! Helper wrappers shared by the BPF objects: memory reads, tracepoint records, the way out. The only place on the kernel
//! side, beside map access, that needs `unsafe`.

pub(crate) mod events;
pub(crate) mod record;

/// Why a program gave up; counted by the entry point that got it, never retried.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The transport to user space was full.
    RingFull,
    /// A map refused an entry.
    MapFull,
    /// Memory could not be read.
    Read,
    /// A handshake was found to have ended in a call that is not probed.
    UnseenEnd,
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(crate) fn now() -> u64 {
    // SAFETY: no argument; allowed in every program type used here.
    unsafe { aya_ebpf::helpers::bpf_ktime_get_ns() }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
