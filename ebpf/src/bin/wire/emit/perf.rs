//! Segments through perf buffers, which copy them from scratch memory.

use super::{Content, Message, PacketContext, bounded, fill};
use crate::maps::WIRE_EVENTS;
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::{
    kernel::{Fault, events::perf::with_scratch},
    wire::{LARGE, Segment},
};

/// Sends one segment.
#[inline(always)]
pub(crate) fn emit(
    ctx: &SkBuffContext,
    at: &PacketContext,
    repeats: u32,
    content: &Content,
) -> Result<(), Fault> {
    with_scratch(|scratch| {
        let message: *mut Message<LARGE> = scratch.cast();
        // SAFETY: scratch memory has the size of the largest segment and is ours during this call.
        unsafe { fill(ctx, at, repeats, content, message) }?;
        let bytes = match content.length {
            0 => 0,
            // SAFETY: as above.
            _ => unsafe { bounded::<LARGE>(&raw const (*message).segment.length) },
        };
        let length = size_of::<Segment>() as u64 + u64::from(bytes);
        // SAFETY: `fill` has written that many bytes.
        unsafe { WIRE_EVENTS.send_bytes(ctx, scratch, length) }
    })
}
