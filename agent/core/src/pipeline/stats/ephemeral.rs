//! Server ports in the ephemeral range. Protocols such as passive FTP open a new port for every
//! transfer, and each would be a peer and a workload of its own. Of each server address, the first
//! few ephemeral ports have names of their own; all later ones are folded into one.

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;

use crate::model::{End, NetworkNamespace};

/// First port of the ephemeral range: the default of `net.ipv4.ip_local_port_range` on Linux.
const FIRST_PORT: u16 = 32_768;
/// Ephemeral ports of one address with names of their own.
const MAX_NAMED: usize = 8;
/// Addresses with ephemeral ports; the least recently used is evicted.
const MAX_ADDRESSES: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Ports of one address with names of their own; 0 for a free entry.
type Named = [u16; MAX_NAMED];

/// Table of ephemeral server ports.
#[derive(Debug)]
pub(super) struct EphemeralPorts(LruCache<(NetworkNamespace, IpAddr), Named>);

impl EphemeralPorts {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_ADDRESSES))
    }

    /// Whether the port of this server is folded.
    pub(super) fn is_folded(&mut self, server: End) -> bool {
        let port = server.address.port();
        if port < FIRST_PORT {
            return false;
        }
        let key = (server.namespace, server.address.ip());
        let named = self.0.get_or_insert_mut(key, Named::default);
        let entry = named
            .iter_mut()
            .find(|known| matches!(**known, 0) || **known == port);
        match entry {
            Some(entry) => {
                *entry = port;
                false
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ephemeral_ports_of_an_address_are_folded() {
        let mut ports = EphemeralPorts::new();
        let mut in_namespace = |namespace, server: &str| {
            let address = server.parse().unwrap();
            ports.is_folded(End { namespace, address })
        };
        let mut is_folded = |server: &str| in_namespace(NetworkNamespace::Unknown, server);
        for port in 40_000..40_008 {
            assert!(!is_folded(&format!("192.0.2.1:{port}")));
        }
        assert!(is_folded("192.0.2.1:40008"));
        assert!(!is_folded("192.0.2.1:40000"), "it has a name already");
        assert!(!is_folded("192.0.2.1:443"));
        assert!(!is_folded("192.0.2.1:32767"));
        assert!(!is_folded("192.0.2.2:40008"), "another address");
        let other = NetworkNamespace::User(1);
        assert!(!in_namespace(other, "192.0.2.1:40008"), "another namespace");
    }
}
