//! The newest miss of each peer and reason. Bounded in a table of its own, since most peers have no
//! miss, and one example takes as much memory as a fifth of a peer's sums.

use std::num::NonZeroUsize;

use enum_map::EnumMap;
use lru::LruCache;

use super::peer_key::PeerKey;
use crate::model::{Evidence, KeyName, Mechanism, Miss, MissReason, Observation, OfferOutcome};

/// Peers with examples; the one whose last miss is the oldest is evicted.
pub const MAX_PEERS_WITH_EXAMPLES: usize = 4_096;
const CAPACITY: NonZeroUsize = NonZeroUsize::new(MAX_PEERS_WITH_EXAMPLES).unwrap();
/// Reasons with an example per peer and role: the commonest ones.
pub(super) const MAX_REASONS: usize = 4;

/// Ports of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Port of the client.
    pub client: u16,
    /// Port of the server.
    pub server: u16,
}

/// One missed session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissExample {
    /// End of the handshake, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Mechanism by which the session was offered.
    pub mechanism: Mechanism,
    /// Reason and evidence.
    pub miss: Miss,
    /// Name of the ticket's key.
    pub key: Option<KeyName>,
    /// Ports of the connection, where it was found.
    pub ports: Option<Ports>,
}

impl MissExample {
    /// The miss of a handshake; `None` without one.
    #[must_use]
    pub fn from_observation(seen: &Observation) -> Option<Self> {
        let Some(OfferOutcome::Missed(mechanism, reason)) = seen.offer_outcome() else {
            return None;
        };
        Some(Self {
            time_ns: seen.time_ns,
            mechanism,
            miss: seen.miss.unwrap_or(undiagnosed(reason)),
            key: seen.ticket_key().map(|(key, _)| key),
            ports: seen.connection.map(|connection| Ports {
                client: connection.client(seen.role).port(),
                server: connection.server(seen.role).port(),
            }),
        })
    }
}

/// A miss on a connection that was not found.
fn undiagnosed(reason: MissReason) -> Miss {
    Miss {
        reason,
        evidence: Evidence {
            rule: "not_enough_evidence",
            ..Evidence::default()
        },
        age_ns: None,
        lifetime_ns: None,
        service: None,
        lossy: false,
    }
}

/// Table of examples.
#[derive(Debug)]
pub struct MissExamples(LruCache<PeerKey, Vec<MissExample>>);

impl MissExamples {
    pub(super) fn new() -> Self {
        Self(LruCache::new(CAPACITY))
    }

    /// Adds a miss; `misses` are the counts of the peer, this miss included.
    pub(super) fn record(
        &mut self,
        peer: &PeerKey,
        misses: &EnumMap<MissReason, u64>,
        example: MissExample,
    ) {
        let Some(examples) = self.0.get_mut(peer) else {
            self.0.put(peer.clone(), vec![example]);
            return;
        };
        let reason = example.miss.reason;
        let same = |other: &&mut MissExample| other.miss.reason == reason;
        if let Some(known) = examples.iter_mut().find(same) {
            *known = example;
        } else if examples.len() < MAX_REASONS {
            examples.push(example);
        } else if let Some(rarest) = examples
            .iter_mut()
            .min_by_key(|other| misses[other.miss.reason])
            && misses[rarest.miss.reason] <= misses[reason]
        {
            *rarest = example;
        }
    }

    /// The newest miss of a peer with this reason; `None` if it was evicted.
    #[must_use]
    pub fn get(&self, peer: &PeerKey, reason: MissReason) -> Option<&MissExample> {
        let examples = self.0.peek(peer)?;
        examples
            .iter()
            .find(|example| example.miss.reason == reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Role, pipeline::peers::Peer};

    fn peer(number: u32) -> PeerKey {
        PeerKey {
            role: Role::Server,
            peer: Peer::Group(number.to_string().into()),
        }
    }

    fn example(reason: MissReason, time_ns: u64) -> MissExample {
        MissExample {
            time_ns,
            mechanism: Mechanism::Psk,
            miss: Miss {
                reason,
                evidence: Evidence::default(),
                age_ns: None,
                lifetime_ns: None,
                service: None,
                lossy: false,
            },
            key: None,
            ports: None,
        }
    }

    #[test]
    fn the_newest_example_of_the_commonest_reasons_is_retained() {
        let mut examples = MissExamples::new();
        let mut misses = EnumMap::default();
        let mut add = |examples: &mut MissExamples, reason, time_ns| {
            misses[reason] += 1;
            examples.record(&peer(1), &misses, example(reason, time_ns));
        };
        for reason in &MissReason::ALL[..MAX_REASONS] {
            add(&mut examples, *reason, 1);
            add(&mut examples, *reason, 2);
        }
        let [first, .., other] = MissReason::ALL;
        let time_ns = |examples: &MissExamples, reason| {
            let example = examples.get(&peer(1), reason);
            example.map(|example| example.time_ns)
        };
        add(&mut examples, other, 3);
        assert_eq!(time_ns(&examples, first), Some(2));
        assert_eq!(time_ns(&examples, other), None, "rarer than the others");
        add(&mut examples, other, 4);
        assert_eq!(time_ns(&examples, other), Some(4));
        let retained = MissReason::ALL.into_iter();
        let retained = retained.filter(|reason| time_ns(&examples, *reason).is_some());
        assert_eq!(retained.count(), MAX_REASONS);
    }

    #[test]
    fn the_peer_whose_last_miss_is_the_oldest_is_evicted() {
        let mut examples = MissExamples::new();
        let misses = EnumMap::default();
        let count = u32::try_from(MAX_PEERS_WITH_EXAMPLES).unwrap();
        for number in 0..=count {
            examples.record(&peer(number), &misses, example(MissReason::Expired, 1));
            examples.record(&peer(1), &misses, example(MissReason::Expired, 2));
        }
        let is_retained = |number| examples.get(&peer(number), MissReason::Expired).is_some();
        assert!(!is_retained(0) && is_retained(1) && is_retained(count));
        assert_eq!(examples.0.len(), MAX_PEERS_WITH_EXAMPLES);
    }
}
