//! The most recent failed handshakes, with what is known about each. Bounded per peer and cause,
//! and per cause, so that many failures of one kind do not displace those of others.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc};

use enum_map::EnumMap;

use super::peer_key::PeerKey;
use crate::model::{Alert, FailureCause, NetworkEvidence, Observation, Offer, Owner, Version};

/// Failed handshakes retained per cause.
const MAX_PER_CAUSE: usize = 64;
/// Failed handshakes retained per peer and cause.
const MAX_PER_PEER: usize = 16;

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
    /// What the client offered to resume.
    pub offer: Offer,
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
    /// Owner of the process.
    pub owner: Arc<Owner>,
}

/// The most recent failed handshakes of each cause, oldest first.
#[derive(Debug, Default)]
pub struct Failures(EnumMap<FailureCause, VecDeque<Failure>>);

impl Failures {
    pub(super) fn add(
        &mut self,
        seen: &Observation,
        cause: FailureCause,
        peer: PeerKey,
        owner: Arc<Owner>,
    ) {
        let failures = &mut self.0[cause];
        let of_peer = |failure: &&Failure| failure.peer == peer;
        if failures.iter().filter(of_peer).count() >= MAX_PER_PEER {
            let oldest = failures.iter().position(|failure| of_peer(&failure));
            oldest.and_then(|oldest| failures.remove(oldest));
        } else if failures.len() == MAX_PER_CAUSE {
            failures.pop_front();
        }
        failures.push_back(Failure {
            time_ns: seen.time_ns,
            peer,
            cause,
            version: seen.version,
            offer: seen.offer,
            duration_ns: seen.duration_ns,
            reason: seen.library().and_then(|facts| facts.reason),
            alert: seen.alert,
            network: seen.network,
            tgid: seen.tgid,
            owner,
        });
    }

    /// The failed handshakes, the latest first.
    #[must_use]
    pub fn latest_first(&self) -> Vec<&Failure> {
        let newest_first = self.0.values().flat_map(|failures| failures.iter().rev());
        let mut failures: Vec<_> = newest_first.collect();
        failures.sort_by_key(|failure| Reverse(failure.time_ns));
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Outcome, Role, Source},
        pipeline::peers::Peer,
    };

    fn peer(number: u32) -> PeerKey {
        PeerKey {
            role: Role::Server,
            peer: Peer::Group(number.to_string().into()),
        }
    }

    fn add(failures: &mut Failures, time_ns: u64, cause: FailureCause, number: u32) {
        let seen = Observation {
            time_ns,
            duration_ns: 0,
            role: Role::Server,
            tgid: None,
            cgroup: None,
            version: Version::V13,
            outcome: Outcome::Failed(cause),
            connection: None,
            network: NetworkEvidence::default(),
            source: Source::Wire,
            offer: Offer::Unknown,
            hello: None,
            alert: None,
            conflict: false,
            miss: None,
        };
        failures.add(&seen, cause, peer(number), Arc::default());
    }

    #[test]
    fn many_failures_of_one_peer_or_cause_do_not_displace_others() {
        let mut failures = Failures::default();
        add(&mut failures, 1, FailureCause::AlertSent, 1);
        add(&mut failures, 2, FailureCause::Reset, 2);
        for time_ns in 3..1_000 {
            add(&mut failures, time_ns, FailureCause::Reset, 3);
        }
        let rows = failures.latest_first();
        assert_eq!(rows.len(), 2 + MAX_PER_PEER);
        assert_eq!((rows[0].time_ns, rows[MAX_PER_PEER].time_ns), (999, 2));
        for number in 4..1_000 {
            add(
                &mut failures,
                u64::from(number) * 1_000,
                FailureCause::Reset,
                number,
            );
        }
        let rows = failures.latest_first();
        assert_eq!(rows.len(), 1 + MAX_PER_CAUSE);
        assert_eq!(rows[MAX_PER_CAUSE].cause, FailureCause::AlertSent);
    }
}
