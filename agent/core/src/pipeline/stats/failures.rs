//! The failed handshakes of late, each with what is known of it: for people who ask why. Bounded: the oldest goes first.

use std::collections::VecDeque;

use super::PeerKey;
use crate::model::{Direction, FailureCause as Cause, NetworkEvidence, Observation, Version};

/// Failed handshakes kept.
const MAX_FAILURES: usize = 256;

/// One failed handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Whose it was.
    pub peer: PeerKey,
    /// Why it failed.
    pub cause: Cause,
    /// Version agreed on.
    pub version: Version,
    /// First drive to end, nanoseconds.
    pub duration_ns: u64,
    /// Library error reason, 0 for none.
    pub reason: u32,
    /// Alert that ended it, where one is known, and whether it arrived.
    pub alert: Option<(u8, bool)>,
    /// What speaks for loss, and what TCP did otherwise.
    pub trouble: NetworkEvidence,
    /// Process; 0 where it was seen on the wire alone.
    pub tgid: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Failures(VecDeque<Failure>);

impl Failures {
    pub(super) fn add(&mut self, seen: &Observation, cause: Cause, peer: PeerKey) {
        if self.0.len() == MAX_FAILURES {
            self.0.pop_front();
        }
        self.0.push_back(Failure {
            time_ns: seen.time_ns,
            peer,
            cause,
            version: seen.version,
            duration_ns: seen.duration_ns,
            reason: seen.library().and_then(|facts| facts.reason).unwrap_or(0),
            alert: seen
                .alert
                .map(|alert| (alert.description, alert.direction == Direction::Received)),
            trouble: seen.network,
            tgid: seen.tgid.unwrap_or(0),
        });
    }

    /// The latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter().rev()
    }
}
