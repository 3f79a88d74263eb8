//! What every sensor hands on from its object: its events, how many of them were lost, and what its programs say in words.

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};

use super::{SensorError, events::Events, means::Means, take_map, told::Told};

/// Names of an object's maps, and the room of its events.
pub(super) struct Maps {
    /// Events.
    pub(super) events: &'static str,
    /// Events lost, per CPU.
    pub(super) lost: &'static str,
    /// Room for events where each CPU has its own, bytes.
    pub(super) budget: usize,
}

/// See the module.
pub struct Feed {
    /// The events.
    pub events: Events,
    lost: PerCpuArray<MapData, u64>,
    /// Part of them that was told of already.
    told_lost: u64,
    told: Told,
}

impl Feed {
    /// Opens it, which is to be done before anything is attached: what is sent to a buffer that is not open is lost.
    pub(super) fn open(ebpf: &mut Ebpf, means: Means, maps: &Maps) -> Result<Self, SensorError> {
        Ok(Self {
            events: Events::take(ebpf, maps.events, means, maps.budget)?,
            lost: take_map(ebpf, maps.lost)?,
            told_lost: 0,
            told: Told::listen(ebpf, means)?,
        })
    }

    /// Events that the programs could not send, since this was last asked.
    pub(super) fn newly_lost(&mut self) -> u64 {
        let lost = self.lost.iter().filter_map(Result::ok);
        let lost: u64 = lost.map(|values| values.iter().sum::<u64>()).sum();
        let newly = lost.saturating_sub(self.told_lost);
        self.told_lost += newly;
        newly
    }

    /// Passes on what the programs have said.
    pub(super) fn pass_on(&mut self) {
        self.told.pass_on();
    }
}
