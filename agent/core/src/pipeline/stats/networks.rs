//! Networks of clients that abandoned handshakes with services on this host. Bounded: the least
//! recently used network is evicted.

use std::{net::IpAddr, num::NonZeroUsize};

use ipnet::IpNet;
use lru::LruCache;

use super::services::ServiceKey;
use crate::{
    model::{Connection, NetworkNamespace, Observation, Outcome},
    pipeline::peers::Naming,
};

/// Networks.
const MAX_NETWORKS: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Prefix lengths of a network: what one site or provider usually has.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 48;

/// A network of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkKey {
    /// Network namespace in which its addresses are valid.
    pub namespace: NetworkNamespace,
    /// The network.
    pub network: IpNet,
}

impl NetworkKey {
    /// The network of a client, no longer than its peer's.
    fn of_client(connection: &Connection, naming: &Naming) -> Option<Self> {
        let address = connection.remote.ip();
        let prefix = match address {
            IpAddr::V4(_) => PREFIX_V4.min(naming.prefix_v4),
            IpAddr::V6(_) => PREFIX_V6.min(naming.prefix_v6),
        };
        Some(Self {
            namespace: connection.namespace,
            network: IpNet::new(address, prefix).ok()?.trunc(),
        })
    }
}

/// Handshakes of one network, since its first abandoned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientNetwork {
    /// Handshakes that the client ended, or in which it went silent, without evidence of packet
    /// loss.
    pub abandoned: u64,
    /// Abandoned handshakes of which no whole ClientHello was read.
    pub without_hello: u64,
    /// Completed handshakes.
    pub completed: u64,
    /// End of the newest abandoned handshake, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// The service of that handshake.
    pub service: ServiceKey,
}

/// Table of networks.
#[derive(Debug)]
pub struct Networks {
    table: LruCache<NetworkKey, ClientNetwork>,
    evicted: u64,
}

impl Networks {
    pub(super) fn new() -> Self {
        Self {
            table: LruCache::new(MAX_NETWORKS),
            evicted: 0,
        }
    }

    /// Adds an ended handshake with a service.
    pub(super) fn record(
        &mut self,
        key: &ServiceKey,
        connection: &Connection,
        seen: &Observation,
        naming: &Naming,
    ) {
        let Some(network) = NetworkKey::of_client(connection, naming) else {
            return;
        };
        if matches!(seen.outcome, Outcome::Completed(_)) {
            if let Some(known) = self.table.peek_mut(&network) {
                known.completed += 1;
            }
        } else if seen.outcome.is_abandoned_by_peer() {
            let is_full = self.table.len() == MAX_NETWORKS.get();
            self.evicted += u64::from(is_full && !self.table.contains(&network));
            let known = self.table.get_or_insert_mut(network, || ClientNetwork {
                abandoned: 0,
                without_hello: 0,
                completed: 0,
                last_ns: 0,
                service: key.clone(),
            });
            known.abandoned += 1;
            known.without_hello += u64::from(seen.hello.is_none());
            known.last_ns = known.last_ns.max(seen.time_ns);
            known.service.clone_from(key);
        }
    }

    /// The networks, those with the most abandoned handshakes first.
    #[must_use]
    pub fn ranked(&self) -> Vec<(&NetworkKey, &ClientNetwork)> {
        let mut ranked: Vec<_> = self.table.iter().collect();
        ranked.sort_unstable_by(|(key, one), (other_key, other)| {
            let by_count = other.abandoned.cmp(&one.abandoned);
            by_count.then_with(|| key.cmp(other_key))
        });
        ranked
    }

    /// Number of networks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Networks that left because the table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{FailureCause, Offer, Owner, Resumption, Role},
        pipeline::stats::{service_port::ServicePort, testing::seen},
    };

    fn key() -> ServiceKey {
        ServiceKey {
            owner: Arc::new(Owner::from_workload("till")),
            port: ServicePort::Number(443),
        }
    }

    fn record(networks: &mut Networks, remote: &str, outcome: Outcome) {
        let seen = seen(Role::Server, remote, outcome, Offer::Nothing);
        let naming = Naming::default();
        networks.record(&key(), &seen.connection.unwrap(), &seen, &naming);
    }

    #[test]
    fn networks_are_no_longer_than_peers() {
        let naming = Naming {
            prefix_v4: 16,
            ..Naming::default()
        };
        let outcome = Outcome::Failed(FailureCause::Closed);
        let seen = seen(Role::Server, "192.0.2.1:1", outcome, Offer::Nothing);
        let connection = seen.connection.unwrap();
        let network = NetworkKey::of_client(&connection, &naming).unwrap().network;
        assert_eq!(network.to_string(), "192.0.0.0/16");
    }

    #[test]
    fn networks_are_counted_from_their_first_abandoned_handshake() {
        let mut networks = Networks::new();
        let full = Outcome::Completed(Resumption::Full);
        for (remote, outcome) in [
            ("192.0.2.1:1", full),
            ("192.0.2.2:1", Outcome::Failed(FailureCause::Timeout)),
            ("192.0.2.3:1", Outcome::Failed(FailureCause::PacketLoss)),
            ("192.0.2.4:1", Outcome::Failed(FailureCause::AlertReceived)),
            ("192.0.2.5:1", full),
            ("[2001:db8:1::1]:1", Outcome::Failed(FailureCause::Closed)),
            ("[2001:db8:1:2::1]:1", Outcome::Failed(FailureCause::Reset)),
            ("198.51.100.1:1", full),
        ] {
            record(&mut networks, remote, outcome);
        }
        let ranked = networks.ranked().into_iter();
        let counts: Vec<_> = ranked
            .map(|(key, sums)| (key.network.to_string(), sums.abandoned, sums.completed))
            .collect();
        let expected = [
            ("2001:db8:1::/48".to_owned(), 2, 0),
            ("192.0.2.0/24".to_owned(), 1, 1),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn networks_are_bounded() {
        let mut networks = Networks::new();
        let max = MAX_NETWORKS.get() as u32;
        for number in 0..max + 3 {
            let [_, _, high, low] = number.to_be_bytes();
            let remote = format!("10.{high}.{low}.1:1");
            record(&mut networks, &remote, Outcome::Failed(FailureCause::Reset));
        }
        assert_eq!((networks.len(), networks.evicted()), (max as usize, 3));
    }
}
