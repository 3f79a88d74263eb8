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

impl Fault {
    /// Says so in the log of these programs, where the agent asked for it; that log is a ring buffer of its own. One text per
    /// fault: what is put together of parts needs `memcpy`, which BPF has not.
    #[cfg(feature = "ring")]
    #[inline(always)]
    pub(crate) fn log(self, ctx: &impl aya_ebpf::EbpfContext) {
        use aya_log_ebpf::info;
        match self {
            Self::RingFull => info!(ctx, "an event is lost: no room on the way out"),
            Self::MapFull => info!(ctx, "given up: no room in a map"),
            Self::Read => info!(ctx, "given up: memory could not be read"),
            Self::UnseenEnd => info!(ctx, "a handshake ended in a call that is not probed"),
        }
    }

    /// Objects without ring buffers have no log.
    #[cfg(not(feature = "ring"))]
    #[inline(always)]
    pub(crate) const fn log(self, _: &impl aya_ebpf::EbpfContext) {}
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
