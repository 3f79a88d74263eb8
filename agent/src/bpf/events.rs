//! Reading events: drained by polling, so that a busy host is not woken once per handshake.

mod perf;

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

use self::perf::PerCpu;
use super::{SensorError, means::Means, take_map};

/// Events taken in one go; what is left waits for the next.
const BATCH: usize = 16_384;

/// One sensor's events.
pub struct Events(Way);

enum Way {
    Ring(RingBuf<MapData>),
    Perf(PerCpu),
}

impl Events {
    /// Takes `map` out of the object. `budget` is the room for all CPUs together where each has a buffer of its own, bytes.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        map: &'static str,
        means: Means,
        budget: usize,
    ) -> Result<Self, SensorError> {
        Ok(Self(if means.ring {
            Way::Ring(take_map(ebpf, map)?)
        } else {
            Way::Perf(PerCpu::open(take_map(ebpf, map)?, map, budget)?)
        }))
    }

    /// Hands over the events that are there, at most a batch; `true` where more may be waiting. Of events that come by several
    /// ways those later than `until` stay, so that each is handed over before those that are younger.
    pub fn drain(&mut self, until: u64, mut take: impl FnMut(&[u8])) -> bool {
        match &mut self.0 {
            Way::Ring(ring) => {
                for _ in 0..BATCH {
                    match ring.next() {
                        Some(item) => take(&item),
                        None => return false,
                    }
                }
                true
            }
            Way::Perf(buffers) => {
                buffers.drain(until, take);
                false
            }
        }
    }
}
