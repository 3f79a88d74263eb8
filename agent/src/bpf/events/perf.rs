//! Events of kernels without ring buffers: one buffer per CPU, put in order again by the time in each event.

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

use super::super::SensorError;

/// Least and most room per CPU, bytes.
const ROOM: (usize, usize) = (32 * 1024, 512 * 1024);

/// How long after the time in it an event may still be on its way: the programs take the time first and send last.
const LATE_NS: u64 = 5_000_000;

/// The buffers of one map.
pub(super) struct PerCpu {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    line: Line,
}

impl PerCpu {
    /// Opens a buffer for each CPU that is online. Events of one that comes later are lost, and counted by the programs.
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
            line: Line::default(),
        })
    }

    /// See [`super::Events::drain`]. Reads each buffer to its end: the oldest event could be in any.
    pub(super) fn drain(&mut self, until: u64, take: impl FnMut(&[u8])) {
        let Self { buffers, line } = self;
        for buffer in buffers {
            let _: ControlFlow<()> = buffer.try_fold((), |(), event| {
                // Events that found the buffer full are counted by the program that was told so; the record repeats it.
                if let PerfEvent::Sample { head, tail } = event {
                    line.add([head, tail].concat());
                }
                ControlFlow::Continue(())
            });
        }
        line.hand_over(until.saturating_sub(LATE_NS), take);
    }
}

/// Pages of each buffer, a power of two.
fn pages(budget: usize, cpus: usize) -> usize {
    let room = (budget / cpus.max(1)).clamp(ROOM.0, ROOM.1);
    (room / page_size()).next_power_of_two()
}

fn page_size() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().map_or(4096, |size| size as usize)
}

/// Events in the order of their time.
#[derive(Default)]
struct Line(Vec<(u64, Vec<u8>)>);

impl Line {
    /// What is too short for an event is nobody's: the kernel pads, it does not cut.
    fn add(&mut self, mut bytes: Vec<u8>) {
        if let Ok((header, _)) = Header::read_from_prefix(&bytes) {
            bytes.truncate(header.size as usize);
            self.0.push((header.time_ns, bytes));
        }
    }

    fn hand_over(&mut self, until: u64, mut take: impl FnMut(&[u8])) {
        // Stable: events of one CPU with one time stay as they came.
        self.0.sort_by_key(|(time, _)| *time);
        let ready = self.0.partition_point(|(time, _)| *time <= until);
        let later = self.0.split_off(ready);
        for (_, event) in mem::replace(&mut self.0, later) {
            take(&event);
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

    fn ready(line: &mut Line, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        line.hand_over(until, |bytes| {
            let header = Header::read_from_bytes(bytes).expect("one header, padding cut off");
            times.push(header.time_ns);
        });
        times
    }

    #[test]
    fn events_of_all_cpus_come_in_the_order_of_their_time() {
        let mut line = Line::default();
        for time in [10, 40, 70] {
            line.add(event(time, 4));
        }
        for time in [20, 30, 80] {
            line.add(event(time, 0));
        }
        assert_eq!(ready(&mut line, 40), [10, 20, 30, 40]);
        line.add(event(60, 4));
        assert_eq!(ready(&mut line, 75), [60, 70]);
        assert_eq!(ready(&mut line, u64::MAX), [80]);
        assert!(line.0.is_empty());
    }

    #[test]
    fn what_is_no_event_is_left_out() {
        let mut line = Line::default();
        line.add(vec![0; size_of::<Header>() - 1]);
        assert!(ready(&mut line, u64::MAX).is_empty());
    }

    #[test]
    fn room_is_shared_by_the_cpus_within_bounds() {
        let page = page_size();
        assert_eq!(pages(8 << 20, 2) * page, ROOM.1);
        assert_eq!(pages(8 << 20, 32) * page, 256 * 1024);
        assert_eq!(pages(8 << 20, 10_000) * page, ROOM.0);
        assert!(pages(3 << 20, 7).is_power_of_two());
    }
}
