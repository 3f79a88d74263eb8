//! The user side of one sensor's object: its events, its loss counter and its log.

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};

use super::{bpf_log::BpfLog, error::SensorError, events::Events, program::take_map};
use crate::status::BpfMode;

/// Map names of an object, and the size of its event buffers.
pub(super) struct Maps {
    /// Map of events.
    pub(super) events: &'static str,
    /// Per-CPU counter of lost events.
    pub(super) lost: &'static str,
    /// Total size of the event buffers where each CPU has its own, bytes.
    pub(super) budget: usize,
}

/// Events, loss counter and log of one sensor.
pub(crate) struct SensorEvents {
    /// Events, in order of time.
    pub(crate) events: Events,
    lost: PerCpuArray<MapData, u64>,
    /// Part of the loss counter that [`Self::newly_lost`] has returned.
    reported_lost: u64,
    log: BpfLog,
}

impl SensorEvents {
    /// Opens the buffers. Must run before any program is attached: events that are sent to a
    /// buffer that is not open are lost.
    pub(super) fn open(ebpf: &mut Ebpf, mode: BpfMode, maps: &Maps) -> Result<Self, SensorError> {
        Ok(Self {
            events: Events::open(ebpf, maps.events, mode, maps.budget)?,
            lost: take_map(ebpf, maps.lost)?,
            reported_lost: 0,
            log: BpfLog::open(ebpf, mode)?,
        })
    }

    /// Number of events that the programs could not send since the last call.
    pub(super) fn newly_lost(&mut self) -> u64 {
        let lost = self.lost.iter().filter_map(Result::ok);
        let lost: u64 = lost.map(|values| values.iter().sum::<u64>()).sum();
        let newly = lost.saturating_sub(self.reported_lost);
        self.reported_lost += newly;
        newly
    }

    /// Forwards log messages of the programs.
    pub(super) fn flush_log(&mut self) {
        self.log.flush();
    }
}
