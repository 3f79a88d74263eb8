//! Retransmission counts.

use enum_map::EnumMap;

use super::{Direction, Phase};

/// Retransmissions by phase and direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retransmits(pub EnumMap<Phase, EnumMap<Direction, u32>>);

impl Retransmits {
    /// Count of one phase and direction.
    #[must_use]
    pub fn get(&self, phase: Phase, direction: Direction) -> u32 {
        self.0[phase][direction]
    }

    /// Adds one.
    pub fn add(&mut self, phase: Phase, direction: Direction) {
        self.0[phase][direction] += 1;
    }

    /// Retransmitted segments.
    #[must_use]
    pub fn total(&self) -> u32 {
        let counts = self.0.values().flat_map(EnumMap::values);
        counts.sum()
    }
}
