//! Helper functions that the BPF objects share: event transport, tracepoint records, loss counters.
//! Compiled for BPF only (feature `programs`).

pub mod atomic;
pub mod counters;
pub mod events;
pub mod memory;
pub mod netns;
pub mod process;
pub mod record;
pub mod scope;

use crate::handshake::lost;

/// Why a program stopped early. The entry point counts it and never retries.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Fault {
    /// The transport to user space was full.
    RingFull = lost::RING_FULL,
    /// A map refused an entry.
    MapFull = lost::MAP_FULL,
    /// Memory could not be read.
    Read = lost::READ_FAULT,
    /// A handshake ended in a call that is not probed.
    UnseenEnd = lost::UNSEEN_END,
    /// The process had too many open handshakes.
    TooManyOpen = lost::TOO_MANY_OPEN,
}

impl Fault {
    /// Writes the fault to the log of these programs, which is a ring buffer of its own and exists
    /// only where the agent asked for it. Each fault has a constant text: formatting would need
    /// `memcpy`, which BPF does not have.
    #[cfg(feature = "ring")]
    #[inline(always)]
    pub fn log(self, ctx: &impl aya_ebpf::EbpfContext) {
        use aya_log_ebpf::info;
        match self {
            Self::RingFull => info!(ctx, "event buffer full, event dropped"),
            Self::MapFull => info!(ctx, "map full, entry dropped"),
            Self::Read => info!(ctx, "memory could not be read"),
            Self::UnseenEnd => info!(ctx, "a handshake ended in a call that is not probed"),
            Self::TooManyOpen => info!(ctx, "too many open handshakes in one process"),
        }
    }

    /// Does nothing: objects without ring buffers have no log.
    #[cfg(not(feature = "ring"))]
    #[inline(always)]
    pub const fn log(self, _: &impl aya_ebpf::EbpfContext) {}
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn now() -> u64 {
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
