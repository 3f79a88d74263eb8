//! The way out of the kernel: a ring buffer; or, in objects built without the feature `ring`, for kernels before 5.8, one
//! buffer of perf events per CPU. Both take events of any size, say when they are full, and wake nobody who polls.

use super::Fault;
use aya_ebpf::EbpfContext;
use core::mem::MaybeUninit;

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
    use super::{EbpfContext, Events, Fault, Map, MaybeUninit};
    use aya_ebpf::maps::ring_buf::RingBufEntry;

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
mod perf {
    use super::{EbpfContext, Events, Fault, Map, MaybeUninit};
    use aya_ebpf::{bindings::BPF_F_CURRENT_CPU, helpers::generated::bpf_perf_event_output};

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

        /// Sends what `fill` makes, by way of the stack: a scratch map could be shared with a program that interrupts.
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
            let mut event = MaybeUninit::<T>::uninit();
            fill(event.as_mut_ptr());
            // SAFETY: the caller vouches for every byte.
            unsafe { self.send_bytes(ctx, event.as_ptr().cast(), size_of::<T>() as u64) }
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
