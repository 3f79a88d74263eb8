//! Segments through the ring buffer, in which they are written in place.

use super::{Content, Message, PacketContext, fill};
use crate::maps::WIRE_EVENTS;
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::{
    kernel::{Fault, events::ring::NO_WAKEUP},
    wire::{LARGE, SMALL},
};

/// Sends one segment, in the smaller of two sizes that holds it.
#[inline(always)]
pub(crate) fn emit(
    ctx: &SkBuffContext,
    at: &PacketContext,
    repeats: u32,
    content: &Content,
) -> Result<(), Fault> {
    if content.length <= SMALL as u32 {
        send::<SMALL>(ctx, at, repeats, content)
    } else {
        send::<LARGE>(ctx, at, repeats, content)
    }
}

#[inline(always)]
fn send<const N: usize>(
    ctx: &SkBuffContext,
    at: &PacketContext,
    repeats: u32,
    content: &Content,
) -> Result<(), Fault> {
    let mut entry = WIRE_EVENTS.reserve::<Message<N>>()?;
    // SAFETY: reserved memory of that size, ours until it is submitted.
    let result = unsafe { fill(ctx, at, repeats, content, entry.as_mut_ptr()) };
    match result {
        Ok(()) => entry.submit(NO_WAKEUP),
        Err(_) => entry.discard(NO_WAKEUP),
    }
    result
}
