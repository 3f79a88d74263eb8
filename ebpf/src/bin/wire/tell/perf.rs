//! Segments by perf events, which are copied from where they are made.

use super::{Place, Saying, Told, bounded, fill};
use crate::{
    kernel::{Fault, events::perf::in_room},
    maps::WIRE_EVENTS,
};
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::wire::{LARGE, Segment};

/// Sends one segment.
#[inline(always)]
pub(crate) fn tell(
    ctx: &SkBuffContext,
    place: &Place,
    repeats: u32,
    saying: &Saying,
) -> Result<(), Fault> {
    in_room(|room| {
        let told: *mut Told<LARGE> = room.cast();
        // SAFETY: a room of the size of the largest segment, ours for the time of this call.
        unsafe { fill(ctx, place, repeats, saying, told) }?;
        let bytes = match saying.length {
            0 => 0,
            _ => bounded::<LARGE>(saying),
        };
        let length = size_of::<Segment>() as u64 + u64::from(bytes);
        // SAFETY: as much was written.
        unsafe { WIRE_EVENTS.send_bytes(ctx, room, length) }
    })
}
