//! Event transport to the agent: a ring buffer; or, in objects built without the feature `ring`
//! for kernels before 5.8, one perf event buffer per CPU. Both accept events of any size, report
//! when they are full, and wake nobody who polls.

use super::Fault;
use aya_ebpf::EbpfContext;

/// The feature alone decides: a map of an unsupported type keeps a whole object from loading.
#[cfg(feature = "ring")]
type Map = aya_ebpf::maps::RingBuf;
#[cfg(not(feature = "ring"))]
type Map = aya_ebpf::maps::PerfEventByteArray;

/// The event map of a sensor.
#[repr(transparent)]
pub struct Events(Map);

/// Sending through a ring buffer.
#[cfg(feature = "ring")]
pub mod ring {
    use super::{EbpfContext, Events, Fault, Map};
    use aya_ebpf::maps::ring_buf::RingBufEntry;
    use core::mem::MaybeUninit;

    /// `BPF_RB_NO_WAKEUP` (include/uapi/linux/bpf.h): the agent polls, so that a busy host is not
    /// woken once per event.
    pub const NO_WAKEUP: u64 = 1;

    impl Events {
        /// An event map of `bytes`.
        #[must_use]
        pub const fn with_byte_size(bytes: u32) -> Self {
            Self(Map::with_byte_size(bytes, 0))
        }

        /// Sends a copy of `event`.
        ///
        /// # Errors
        ///
        /// [`Fault::RingFull`].
        #[inline(always)]
        pub fn send<T: Copy>(&self, _: &impl EbpfContext, event: &T) -> Result<(), Fault> {
            let sent = self.0.output::<T>(event, NO_WAKEUP);
            sent.map_err(|_| Fault::RingFull)
        }

        /// Sends what `fill` writes, in place.
        ///
        /// # Errors
        ///
        /// [`Fault::RingFull`].
        ///
        /// # Safety
        ///
        /// `fill` must write every byte.
        #[inline(always)]
        pub unsafe fn send_filled<T: 'static>(
            &self,
            _: &impl EbpfContext,
            fill: impl FnOnce(*mut T),
        ) -> Result<(), Fault> {
            let mut entry = self.reserve::<T>()?;
            fill(MaybeUninit::as_mut_ptr(&mut entry));
            entry.submit(NO_WAKEUP);
            Ok(())
        }

        /// Reserves memory for one event in the buffer.
        ///
        /// # Errors
        ///
        /// [`Fault::RingFull`].
        #[inline(always)]
        pub fn reserve<T: 'static>(&self) -> Result<RingBufEntry<T>, Fault> {
            self.0.reserve::<T>(0).ok_or(Fault::RingFull)
        }
    }
}

/// Sending through per-CPU perf event buffers.
#[cfg(not(feature = "ring"))]
pub mod perf {
    use super::{EbpfContext, Events, Fault, Map};
    use crate::wire::{LARGE, Segment};
    use aya_ebpf::{
        bindings::BPF_F_CURRENT_CPU, helpers::generated::bpf_perf_event_output, macros::map,
        maps::PerCpuArray,
    };
    use core::ptr::addr_of_mut;

    /// Words of the largest event: a segment of a first flight.
    const WORDS: usize = (size_of::<Segment>() + LARGE) / 8;
    /// Scratch slots per CPU. An outgoing packet can be interrupted by incoming packets, and those
    /// are answered by other outgoing packets.
    const SLOTS: u32 = 4;

    /// Scratch memory for an event that does not fit on the stack.
    #[repr(C)]
    struct Scratch {
        /// Not 0 while in use.
        busy: u64,
        event: [u64; WORDS],
    }

    /// Read and written by programs on their own CPU only. Kernels before 5.11 run programs without
    /// preemption (`migrate_disable` of include/linux/preempt.h), so nothing but an interrupt can
    /// come between the test of `busy` and its setting, and an interrupting program releases what
    /// it acquired before it returns.
    #[map]
    static EV_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

    /// Calls `make` with scratch memory of the largest event's size, aligned for words; nobody else
    /// writes it meanwhile.
    ///
    /// # Errors
    ///
    /// [`Fault::MapFull`] where every slot is in use, and those of `make`.
    #[inline(always)]
    pub fn with_scratch(make: impl FnOnce(*mut u8) -> Result<(), Fault>) -> Result<(), Fault> {
        let scratch = acquire().ok_or(Fault::MapFull)?;
        // SAFETY: a live per-CPU slot that was free; it stays ours until it is released below.
        unsafe {
            let result = make(addr_of_mut!((*scratch).event).cast());
            addr_of_mut!((*scratch).busy).write_volatile(0);
            result
        }
    }

    #[inline(always)]
    fn acquire() -> Option<*mut Scratch> {
        for slot in 0..SLOTS {
            let scratch = EV_SCRATCH.get_ptr_mut(slot)?;
            // SAFETY: a live per-CPU slot.
            unsafe {
                let busy = addr_of_mut!((*scratch).busy);
                if busy.read_volatile() == 0 {
                    busy.write_volatile(1);
                    return Some(scratch);
                }
            }
        }
        None
    }

    impl Events {
        /// An event map. The agent chooses the size of perf buffers when it opens them; `bytes` is
        /// the size that a ring buffer would have.
        #[must_use]
        pub const fn with_byte_size(_bytes: u32) -> Self {
            Self(Map::new(0))
        }

        /// Sends a copy of `event`.
        ///
        /// # Errors
        ///
        /// [`Fault::RingFull`].
        #[inline(always)]
        pub fn send<T: Copy>(&self, ctx: &impl EbpfContext, event: &T) -> Result<(), Fault> {
            // SAFETY: a live value of that size; event types have no padding.
            unsafe {
                self.send_bytes(
                    ctx,
                    core::ptr::from_ref(event).cast(),
                    size_of::<T>() as u64,
                )
            }
        }

        /// Sends what `fill` writes.
        ///
        /// # Errors
        ///
        /// [`Fault::RingFull`], and [`Fault::MapFull`] where all scratch memory is in use.
        ///
        /// # Safety
        ///
        /// `fill` must write every byte.
        #[inline(always)]
        pub unsafe fn send_filled<T: 'static>(
            &self,
            ctx: &impl EbpfContext,
            fill: impl FnOnce(*mut T),
        ) -> Result<(), Fault> {
            const { assert!(size_of::<T>() <= WORDS * 8 && align_of::<T>() <= 8) };
            with_scratch(|event| {
                fill(event.cast());
                // SAFETY: scratch memory is as large, and the caller guarantees every byte.
                unsafe { self.send_bytes(ctx, event, size_of::<T>() as u64) }
            })
        }

        /// Sends `length` bytes.
        ///
        /// # Errors
        ///
        /// [`Fault::RingFull`].
        ///
        /// # Safety
        ///
        /// `from` must be valid for reads of `length` bytes, all of them written.
        #[inline(always)]
        pub unsafe fn send_bytes(
            &self,
            ctx: &impl EbpfContext,
            from: *const u8,
            length: u64,
        ) -> Result<(), Fault> {
            let map = core::ptr::from_ref(self).cast_mut();
            // SAFETY: the context this program was called with, a map of this object, and the
            // caller's bytes. The helper reports a full buffer (`__perf_event_output` returns what
            // `output_begin` does, kernel/events/core.c, 5.1).
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
