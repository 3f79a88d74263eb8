//! Reads events by polling, so that a busy host does not wake the agent once per handshake.

mod perf;

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use reprise_ebpf::Header;
use zerocopy::FromBytes as _;

use self::perf::PerCpuBuffers;
use super::{error::SensorError, program::take_map};
use crate::status::BpfMode;

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

    /// Passes all events up to `until` to `consume`. A ring buffer is read up to its first later
    /// event, so that reading ends while programs add more. Per-CPU buffers hold back later events,
    /// so that events leave in order of time.
    pub(crate) fn drain(&mut self, until: u64, mut consume: impl FnMut(&[u8])) {
        match &mut self.0 {
            Buffers::Ring(ring) => {
                while let Some(item) = ring.next() {
                    consume(&item);
                    if is_later(&item, until) {
                        break;
                    }
                }
            }
            Buffers::PerCpu(buffers) => buffers.drain(until, consume),
        }
    }
}

fn is_later(event: &[u8], until: u64) -> bool {
    Header::read_from_prefix(event).is_ok_and(|(header, _)| header.time_ns > until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn an_event_without_a_header_is_not_later() {
        let header = Header {
            kind: 1,
            size: size_of::<Header>() as u32,
            time_ns: 7,
        };
        assert!(is_later(header.as_bytes(), 6));
        assert!(!is_later(header.as_bytes(), 7));
        assert!(!is_later(&[0xff; 8], 6));
    }
}
