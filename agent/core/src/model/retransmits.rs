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

    /// Whether any segment was retransmitted.
    #[must_use]
    pub fn any(&self) -> bool {
        let mut counts = self
            .0
            .values()
            .flat_map(|by_direction| by_direction.values());
        counts.any(|count| *count > 0)
    }
}
