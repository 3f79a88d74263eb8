//! Reads events by polling, so that a busy host does not wake the agent once per handshake.

mod perf;

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

use self::perf::PerCpuBuffers;
use super::{error::SensorError, program::take_map};
use crate::status::BpfMode;

/// Maximum number of events per call of [`Events::drain`] from a ring buffer.
const BATCH: usize = 16_384;

/// The event stream of one sensor.
pub(crate) struct Events(Buffers);

enum Buffers {
    Ring(RingBuf<MapData>),
    PerCpu(PerCpuBuffers),
}

impl Events {
    /// Takes `map` out of the object. Perf event arrays share `budget` bytes among the CPUs.
    pub(super) fn open(
        ebpf: &mut Ebpf,
        map: &'static str,
        mode: BpfMode,
        budget: usize,
    ) -> Result<Self, SensorError> {
        Ok(Self(if mode.ring {
            Buffers::Ring(take_map(ebpf, map)?)
        } else {
            Buffers::PerCpu(PerCpuBuffers::open(take_map(ebpf, map)?, map, budget)?)
        }))
    }

    /// Passes waiting events to `consume`, at most one batch; returns `true` if more may wait.
    /// Per-CPU buffers hold back events later than `until`, so that events leave in order of time.
    pub(crate) fn drain(&mut self, until: u64, mut consume: impl FnMut(&[u8])) -> bool {
        match &mut self.0 {
            Buffers::Ring(ring) => {
                for _ in 0..BATCH {
                    match ring.next() {
                        Some(item) => consume(&item),
                        None => return false,
                    }
                }
                true
            }
            Buffers::PerCpu(buffers) => {
                buffers.drain(until, consume);
                false
            }
        }
    }
}
