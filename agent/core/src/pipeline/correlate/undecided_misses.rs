//! Misses that wait for evidence of their reason in the handshakes that follow. Bounded: if too
//! many wait, the oldest is concluded without it.

use std::collections::VecDeque;

use crate::{model::Observation, pipeline::diagnose::UndecidedMiss};

/// Time from the end of a handshake until its undecided miss is concluded, nanoseconds: shorter
/// than the wait of the handshake's record from packets, through which the verdict reaches the
/// client's miss.
pub(super) const EVIDENCE_WAIT_NS: u64 = 2_000_000_000;
/// Misses that wait at one time.
const MAX_WAITING: usize = 4_096;

/// Misses without a reason, oldest first.
#[derive(Debug)]
pub(super) struct UndecidedMisses(VecDeque<(Observation, UndecidedMiss)>);

impl UndecidedMisses {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds a miss; returns the oldest one if too many wait.
    pub(super) fn insert(
        &mut self,
        seen: Observation,
        undecided: UndecidedMiss,
    ) -> Option<(Observation, UndecidedMiss)> {
        self.0.push_back((seen, undecided));
        let is_full = self.0.len() > MAX_WAITING;
        is_full.then(|| self.0.pop_front()).flatten()
    }

    /// The next miss whose wait is over at `now_ns`; `None` when there is none left.
    pub(super) fn expire(&mut self, now_ns: u64) -> Option<(Observation, UndecidedMiss)> {
        let (oldest, _) = self.0.front()?;
        let is_due = oldest.time_ns.saturating_add(EVIDENCE_WAIT_NS) <= now_ns;
        is_due.then(|| self.0.pop_front()).flatten()
    }

    /// Misses that wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
