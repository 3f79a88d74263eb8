//! Segments by perf events, which are copied from where they are made: in one of a few rooms per CPU, since the stack has none.

use super::{Place, Saying, Told, bounded, fill};
use crate::{kernel::Fault, maps::HELLO_EVENTS};
use aya_ebpf::{macros::map, maps::PerCpuArray, programs::SkBuffContext};
use core::ptr::addr_of_mut;
use reprise_ebpf::hello::{LARGE, Segment};

/// A packet that leaves is interrupted by packets that arrive, and those are answered by others that leave.
const ROOMS: u32 = 4;

/// Where a segment is made.
#[repr(C)]
pub(crate) struct Room {
    /// Not 0 while in use.
    taken: u64,
    told: Told<LARGE>,
}

/// Written and read by runs on their own CPU alone. Kernels before 5.11 run these programs without preemption
/// (`migrate_disable` of include/linux/preempt.h), so the test and the taking of a room fall together but for interrupts,
/// which give back what they take.
#[map]
static HELLO_ROOMS: PerCpuArray<Room> = PerCpuArray::with_max_entries(ROOMS, 0);

/// Sends one segment.
#[inline(always)]
pub(crate) fn tell(
    ctx: &SkBuffContext,
    place: &Place,
    repeats: u32,
    saying: &Saying,
) -> Result<(), Fault> {
    let room = take().ok_or(Fault::MapFull)?;
    // SAFETY: a room of this CPU that was free; it stays ours until it is given back below.
    unsafe {
        let told = addr_of_mut!((*room).told);
        let mut result = fill(ctx, place, repeats, saying, told);
        if result.is_ok() {
            let bytes = match saying.length {
                0 => 0,
                _ => bounded::<LARGE>(saying),
            };
            let length = size_of::<Segment>() as u64 + u64::from(bytes);
            result = HELLO_EVENTS.send_bytes(ctx, told.cast(), length);
        }
        addr_of_mut!((*room).taken).write_volatile(0);
        result
    }
}

#[inline(always)]
fn take() -> Option<*mut Room> {
    for slot in 0..ROOMS {
        let room = HELLO_ROOMS.get_ptr_mut(slot)?;
        // SAFETY: a live per-CPU slot.
        unsafe {
            let taken = addr_of_mut!((*room).taken);
            if taken.read_volatile() == 0 {
                taken.write_volatile(1);
                return Some(room);
            }
        }
    }
    None
}
