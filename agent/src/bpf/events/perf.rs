//! Events of kernels without ring buffers: one buffer per CPU, merged by the timestamps of events.

use std::{mem, ops::ControlFlow};

use aya::{
    maps::{
        MapData, PerfEventArray,
        perf::{PerfEvent, PerfEventArrayBuffer},
    },
    util::online_cpus,
};
use reprise_ebpf::Header;
use zerocopy::FromBytes as _;

use crate::bpf::error::SensorError;

/// Minimum and maximum buffer size per CPU, bytes.
const BUFFER_SIZE: (usize, usize) = (32 * 1024, 512 * 1024);

/// Maximum delay between the timestamp of an event and its arrival: the programs read the time
/// first and send the event last.
const MAX_DELAY_NS: u64 = 5_000_000;

/// The buffers of one map.
pub(super) struct PerCpuBuffers {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    queue: EventQueue,
}

impl PerCpuBuffers {
    /// Opens a buffer for each online CPU. Events of a CPU that comes online later are lost; the
    /// programs count them.
    pub(super) fn open(
        mut map: PerfEventArray<MapData>,
        name: &'static str,
        budget: usize,
    ) -> Result<Self, SensorError> {
        let failed = |source| SensorError::Buffers { map: name, source };
        let cpus = online_cpus().map_err(|(_, error)| failed(error.into()))?;
        let pages = pages(budget, cpus.len());
        let open = |cpu| map.open(cpu, Some(pages)).map_err(failed);
        let buffers = cpus.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self {
            buffers,
            queue: EventQueue::default(),
        })
    }

    /// Passes the events up to `until` to `consume` in order of time. Reads every buffer to its end
    /// because the oldest event can be in any of them.
    pub(super) fn drain(&mut self, until: u64, consume: impl FnMut(&[u8])) {
        let Self { buffers, queue } = self;
        for buffer in buffers {
            let _: ControlFlow<()> = buffer.try_fold((), |(), event| {
                // The programs count events that a full buffer rejects; the lost record repeats
                // that.
                if let PerfEvent::Sample { head, tail } = event {
                    queue.push([head, tail].concat());
                }
                ControlFlow::Continue(())
            });
        }
        queue.drain_until(until.saturating_sub(MAX_DELAY_NS), consume);
    }
}

/// Pages of each buffer, a power of two.
fn pages(budget: usize, cpus: usize) -> usize {
    let size = (budget / cpus.max(1)).clamp(BUFFER_SIZE.0, BUFFER_SIZE.1);
    (size / page_size()).next_power_of_two()
}

fn page_size() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().map_or(4096, |size| size as usize)
}

/// Events sorted by time.
#[derive(Default)]
struct EventQueue(Vec<(u64, Vec<u8>)>);

impl EventQueue {
    /// Adds an event without its padding; ignores samples shorter than an event header.
    fn push(&mut self, mut bytes: Vec<u8>) {
        if let Ok((header, _)) = Header::read_from_prefix(&bytes) {
            bytes.truncate(header.size as usize);
            self.0.push((header.time_ns, bytes));
        }
    }

    fn drain_until(&mut self, until: u64, mut consume: impl FnMut(&[u8])) {
        // A stable sort keeps the order of events of one CPU that have the same time.
        self.0.sort_by_key(|(time, _)| *time);
        let ready = self.0.partition_point(|(time, _)| *time <= until);
        let later = self.0.split_off(ready);
        for (_, event) in mem::replace(&mut self.0, later) {
            consume(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    fn event(time_ns: u64, padding: usize) -> Vec<u8> {
        let header = Header {
            kind: 1,
            size: size_of::<Header>() as u32,
            time_ns,
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(bytes.len() + padding, 0xaa);
        bytes
    }

    fn ready(queue: &mut EventQueue, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        queue.drain_until(until, |bytes| {
            let header = Header::read_from_bytes(bytes).expect("one header, padding cut off");
            times.push(header.time_ns);
        });
        times
    }

    #[test]
    fn events_of_all_cpus_are_sorted_by_time() {
        let mut queue = EventQueue::default();
        for time in [10, 40, 70] {
            queue.push(event(time, 4));
        }
        for time in [20, 30, 80] {
            queue.push(event(time, 0));
        }
        assert_eq!(ready(&mut queue, 40), [10, 20, 30, 40]);
        queue.push(event(60, 4));
        assert_eq!(ready(&mut queue, 75), [60, 70]);
        assert_eq!(ready(&mut queue, u64::MAX), [80]);
        assert!(queue.0.is_empty());
    }

    #[test]
    fn samples_shorter_than_a_header_are_ignored() {
        let mut queue = EventQueue::default();
        queue.push(vec![0; size_of::<Header>() - 1]);
        assert!(ready(&mut queue, u64::MAX).is_empty());
    }

    #[test]
    fn cpus_share_the_buffer_budget_within_bounds() {
        let page = page_size();
        assert_eq!(pages(8 << 20, 2) * page, BUFFER_SIZE.1);
        assert_eq!(pages(8 << 20, 32) * page, 256 * 1024);
        assert_eq!(pages(8 << 20, 10_000) * page, BUFFER_SIZE.0);
        assert!(pages(3 << 20, 7).is_power_of_two());
    }
}
