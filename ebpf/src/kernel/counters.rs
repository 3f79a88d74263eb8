//! Per-CPU counters, read by the agent.

use super::{Fault, atomic::add};
use crate::handshake::lost;
use aya_ebpf::{EbpfContext, maps::PerCpuArray};

/// One counter per index and CPU.
#[repr(transparent)]
pub struct Counters(PerCpuArray<u64>);

impl Counters {
    /// A map of `count` counters.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(PerCpuArray::with_max_entries(count, 0))
    }

    /// A map of one counter per [`Fault`].
    #[must_use]
    pub const fn of_faults() -> Self {
        Self::new(lost::COUNT)
    }

    /// Adds 1, atomically: another program can preempt or interrupt this one on the same CPU.
    #[inline(always)]
    pub fn increment(&self, index: u32) {
        if let Some(counter) = self.0.get_ptr_mut(index) {
            // SAFETY: a live, aligned per-CPU slot, which only this function writes.
            unsafe { add(counter, 1) };
        }
    }

    /// Logs and counts the fault, if there is one.
    #[inline(always)]
    pub fn record(&self, ctx: &impl EbpfContext, result: Result<(), Fault>) {
        if let Err(fault) = result {
            fault.log(ctx);
            self.increment(fault as u32);
        }
    }
}
