//! The way out of the kernel: a ring buffer; or, in objects built without the feature `ring`, for kernels before 5.8, one
//! buffer of perf events per CPU. Both take events of any size, say when they are full, and wake nobody who polls.

use super::Fault;
use aya_ebpf::EbpfContext;

/// Which of the two is meant is said by the feature alone: a map of the wrong kind keeps a whole object from loading.
#[cfg(feature = "ring")]
type Map = aya_ebpf::maps::RingBuf;
#[cfg(not(feature = "ring"))]
type Map = aya_ebpf::maps::PerfEventByteArray;

/// A sensor's events, to the agent.
#[repr(transparent)]
pub(crate) struct Events(Map);

#[cfg(feature = "ring")]
pub(crate) mod ring {
    use super::{EbpfContext, Events, Fault, Map};
    use aya_ebpf::maps::ring_buf::RingBufEntry;
    use core::mem::MaybeUninit;

    /// `BPF_RB_NO_WAKEUP` (include/uapi/linux/bpf.h): the agent polls, so a busy host is not woken once per event.
    pub(crate) const NO_WAKEUP: u64 = 1;

    impl Events {
        /// Room for `bytes`.
        pub(crate) const fn with_byte_size(bytes: u32) -> Self {
            Self(Map::with_byte_size(bytes, 0))
        }

        /// Sends a copy.
        #[inline(always)]
        pub(crate) fn send<T: Copy>(&self, _: &impl EbpfContext, event: &T) -> Result<(), Fault> {
            let sent = self.0.output::<T>(event, NO_WAKEUP);
            sent.map_err(|_| Fault::RingFull)
        }

        /// Sends what `fill` makes, in place.
        ///
        /// # Safety
        ///
        /// `fill` must write every byte.
        #[inline(always)]
        pub(crate) unsafe fn send_filled<T: 'static>(
            &self,
            _: &impl EbpfContext,
            fill: impl FnOnce(*mut T),
        ) -> Result<(), Fault> {
            let mut entry = self.reserve::<T>()?;
            fill(MaybeUninit::as_mut_ptr(&mut entry));
            entry.submit(NO_WAKEUP);
            Ok(())
        }

        /// Room for one event, in place.
        #[inline(always)]
        pub(crate) fn reserve<T: 'static>(&self) -> Result<RingBufEntry<T>, Fault> {
            self.0.reserve::<T>(0).ok_or(Fault::RingFull)
        }
    }
}

#[cfg(not(feature = "ring"))]
pub(crate) mod perf {
    use super::{EbpfContext, Events, Fault, Map};
    use aya_ebpf::{
        bindings::BPF_F_CURRENT_CPU, helpers::generated::bpf_perf_event_output, macros::map,
        maps::PerCpuArray,
    };
    use core::ptr::addr_of_mut;

    /// Words of the largest event: a segment of a first flight.
    const WORDS: usize = (size_of::<reprise_ebpf::wire::Segment>() + reprise_ebpf::wire::LARGE) / 8;
    /// A packet that leaves is interrupted by packets that arrive, and those are answered by others that leave.
    const ROOMS: u32 = 4;

    /// Where an event is made that the stack has no room for.
    #[repr(C)]
    pub(crate) struct Room {
        /// Not 0 while in use.
        taken: u64,
        event: [u64; WORDS],
    }

    /// Written and read by runs on their own CPU alone. Kernels before 5.11 run programs without preemption (`migrate_disable`
    /// of include/linux/preempt.h), so the test and the taking of a room fall together but for interrupts, which give back
    /// what they take.
    #[map]
    static EV_ROOMS: PerCpuArray<Room> = PerCpuArray::with_max_entries(ROOMS, 0);

    /// Lends a room to `make`, aligned for words and of the largest event's size; nobody else writes it meanwhile.
    #[inline(always)]
    pub(crate) fn in_room(make: impl FnOnce(*mut u8) -> Result<(), Fault>) -> Result<(), Fault> {
        let room = take().ok_or(Fault::MapFull)?;
        // SAFETY: a live per-CPU slot that was free; it stays ours until it is given back.
        unsafe {
            let result = make(addr_of_mut!((*room).event).cast());
            addr_of_mut!((*room).taken).write_volatile(0);
            result
        }
    }

    #[inline(always)]
    fn take() -> Option<*mut Room> {
        for slot in 0..ROOMS {
            let room = EV_ROOMS.get_ptr_mut(slot)?;
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

    impl Events {
        /// The agent decides on the room when it opens the buffers; `bytes` is what a ring would have.
        pub(crate) const fn with_byte_size(_bytes: u32) -> Self {
            Self(Map::new(0))
        }

        /// Sends a copy.
        #[inline(always)]
        pub(crate) fn send<T: Copy>(&self, ctx: &impl EbpfContext, event: &T) -> Result<(), Fault> {
            // SAFETY: a live value of that size, whose type has no padding.
            unsafe {
                self.send_bytes(
                    ctx,
                    core::ptr::from_ref(event).cast(),
                    size_of::<T>() as u64,
                )
            }
        }

        /// Sends what `fill` makes.
        ///
        /// # Safety
        ///
        /// `fill` must write every byte.
        #[inline(always)]
        pub(crate) unsafe fn send_filled<T: 'static>(
            &self,
            ctx: &impl EbpfContext,
            fill: impl FnOnce(*mut T),
        ) -> Result<(), Fault> {
            const { assert!(size_of::<T>() <= WORDS * 8 && align_of::<T>() <= 8) };
            in_room(|event| {
                fill(event.cast());
                // SAFETY: a room is as large, and the caller vouches for every byte.
                unsafe { self.send_bytes(ctx, event, size_of::<T>() as u64) }
            })
        }

        /// Sends `length` bytes.
        ///
        /// # Safety
        ///
        /// `from` must be valid for reads of `length` bytes, all of them written.
        #[inline(always)]
        pub(crate) unsafe fn send_bytes(
            &self,
            ctx: &impl EbpfContext,
            from: *const u8,
            length: u64,
        ) -> Result<(), Fault> {
            let map = core::ptr::from_ref(self).cast_mut();
            // SAFETY: the context this program was called with, a map of this object, and the caller's bytes. The helper says
            // when the buffer was full (`__perf_event_output` returns what `output_begin` does, kernel/events/core.c, 5.1).
            let sent = unsafe {
                bpf_perf_event_output(
                    ctx.as_ptr(),
                    map.cast(),
                    BPF_F_CURRENT_CPU,
                    from.cast_mut().cast(),
                    length,
                )
            };
            if sent == 0 {
                Ok(())
            } else {
                Err(Fault::RingFull)
            }
        }
    }
}
