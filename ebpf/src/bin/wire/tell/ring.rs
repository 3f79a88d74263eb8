//! Segments by the ring buffer, where they are written in place.

use super::{Place, Saying, Told, fill};
use crate::{
    kernel::{Fault, events::ring::NO_WAKEUP},
    maps::WIRE_EVENTS,
};
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::wire::{LARGE, SMALL};

/// Sends one segment, in the smaller of two sizes that holds it.
#[inline(always)]
pub(crate) fn tell(
    ctx: &SkBuffContext,
    place: &Place,
    repeats: u32,
    saying: &Saying,
) -> Result<(), Fault> {
    if saying.length <= SMALL as u32 {
        send::<SMALL>(ctx, place, repeats, saying)
    } else {
        send::<LARGE>(ctx, place, repeats, saying)
    }
}

#[inline(always)]
fn send<const N: usize>(
    ctx: &SkBuffContext,
    place: &Place,
    repeats: u32,
    saying: &Saying,
) -> Result<(), Fault> {
    let mut entry = WIRE_EVENTS.reserve::<Told<N>>()?;
    // SAFETY: reserved memory of that size, ours until it is submitted.
    let result = unsafe { fill(ctx, place, repeats, saying, entry.as_mut_ptr()) };
    match result {
        Ok(()) => entry.submit(NO_WAKEUP),
        Err(_) => entry.discard(NO_WAKEUP),
    }
    result
}
