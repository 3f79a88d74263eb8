//! The most recent failed handshakes, with what is known about each.

use std::collections::VecDeque;

use super::peer_key::PeerKey;
use crate::model::{Alert, FailureCause, NetworkEvidence, Observation, Version};

/// Failed handshakes retained.
const MAX_FAILURES: usize = 256;

/// One failed handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The peer.
    pub peer: PeerKey,
    /// Failure cause.
    pub cause: FailureCause,
    /// Version agreed on.
    pub version: Version,
    /// Time from its beginning to its end, nanoseconds.
    pub duration_ns: u64,
    /// Library error reason.
    pub reason: Option<u32>,
    /// The alert that ended it, where its description is known.
    pub alert: Option<Alert>,
    /// What TCP did on the connection.
    pub network: NetworkEvidence,
    /// Process; `None` where no library reported it.
    pub tgid: Option<u32>,
}

/// The most recent failed handshakes; the oldest is removed first.
#[derive(Debug, Default)]
pub struct Failures(VecDeque<Failure>);

impl Failures {
    pub(super) fn add(&mut self, seen: &Observation, cause: FailureCause, peer: PeerKey) {
        if self.0.len() == MAX_FAILURES {
            self.0.pop_front();
        }
        self.0.push_back(Failure {
            time_ns: seen.time_ns,
            peer,
            cause,
            version: seen.version,
            duration_ns: seen.duration_ns,
            reason: seen.library().and_then(|facts| facts.reason),
            alert: seen.alert,
            network: seen.network,
            tgid: seen.tgid,
        });
    }

    /// The failed handshakes, the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter().rev()
    }
}
