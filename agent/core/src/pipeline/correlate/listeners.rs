//! Owners of listening sockets: the process behind a handshake that only its packets show. Bounded:
//! the port that was used least recently is evicted, and its owners are unknown then.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroUsize,
};

use lru::LruCache;

use crate::model::{End, ListenerChange, ListenerOwner, NetworkNamespace};

/// Maximum number of ports retained, each with its network namespace, and of addresses per port.
const MAX_PORTS: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
const MAX_ADDRESSES: usize = 64;
/// Maximum number of owners retained per address: handshakes are concluded some time after they
/// began.
const MAX_OWNERS: usize = 4;

/// A process that owned the listening sockets of an address, from one time until another.
#[derive(Debug, Clone, Copy)]
struct Ownership {
    tgid: u32,
    from_ns: u64,
    until_ns: u64,
}

#[derive(Debug)]
struct Address {
    address: IpAddr,
    /// The last change of its sockets: no owner is known from before it.
    changed_ns: u64,
    /// Oldest first.
    owners: VecDeque<Ownership>,
}

impl Address {
    /// Whether a socket at `listener` accepts connections to this address.
    fn is_served_at(&self, listener: IpAddr) -> bool {
        listener == self.address
            || listener == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || (listener == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && self.address.is_ipv4())
    }

    fn end_at(&mut self, time_ns: u64) {
        self.owners.retain(|owner| owner.from_ns < time_ns);
        if let Some(last) = self.owners.back_mut() {
            last.until_ns = last.until_ns.min(time_ns);
        }
    }
}

/// Table of owners.
#[derive(Debug)]
pub(super) struct Listeners {
    ports: LruCache<(NetworkNamespace, u16), Vec<Address>>,
    /// Ports that were evicted, and addresses beyond the limit of a port.
    evicted: u64,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            ports: LruCache::new(MAX_PORTS),
            evicted: 0,
        }
    }

    /// Records a change of listening sockets, after which their owner is unknown.
    pub(super) fn change(&mut self, change: &ListenerChange) {
        let addresses = self.ports.peek_mut(&key(&change.end));
        for address in addresses.into_iter().flatten() {
            if address.is_served_at(change.end.address.ip()) {
                address.end_at(change.time_ns);
                address.changed_ns = address.changed_ns.max(change.until_ns);
            }
        }
    }

    /// Records the owner of an end.
    pub(super) fn set_owner(&mut self, owner: &ListenerOwner) {
        let key = key(&owner.end);
        if !self.ports.contains(&key) && self.ports.len() >= MAX_PORTS.get() {
            self.evicted += 1;
        }
        let addresses = self.ports.get_or_insert_mut(key, Vec::new);
        let ip = owner.end.address.ip();
        let address = match addresses.iter().position(|known| known.address == ip) {
            Some(at) => &mut addresses[at],
            None if addresses.len() >= MAX_ADDRESSES => {
                self.evicted += 1;
                return;
            }
            None => addresses.push_mut(Address {
                address: ip,
                changed_ns: 0,
                owners: VecDeque::new(),
            }),
        };
        let from_ns = owner.from_ns.max(address.changed_ns);
        address.end_at(from_ns);
        if let Some(tgid) = owner.tgid {
            if address.owners.len() >= MAX_OWNERS {
                address.owners.pop_front();
            }
            address.owners.push_back(Ownership {
                tgid,
                from_ns,
                until_ns: u64::MAX,
            });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ports.len()
    }

    /// Ports that were evicted, and addresses beyond the limit of a port.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The process that alone accepted connections to `end` at this time.
    pub(super) fn owner(&mut self, end: &End, at_ns: u64) -> Option<u32> {
        let addresses = self.ports.get(&key(end))?;
        let ip = end.address.ip();
        let address = addresses.iter().find(|address| address.address == ip)?;
        let mut owners = address.owners.iter();
        let owner = owners.find(|owner| owner.from_ns <= at_ns && at_ns < owner.until_ns);
        owner.map(|owner| owner.tgid)
    }
}

const fn key(end: &End) -> (NetworkNamespace, u16) {
    (end.namespace, end.address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(address: &str) -> End {
        End {
            namespace: NetworkNamespace::Privileged(1),
            address: address.parse().unwrap(),
        }
    }

    fn change(listeners: &mut Listeners, address: &str, time_ns: u64) {
        listeners.change(&ListenerChange {
            time_ns,
            end: end(address),
            until_ns: time_ns,
        });
    }

    fn found(listeners: &mut Listeners, address: &str, tgid: u32, from_ns: u64) {
        listeners.set_owner(&ListenerOwner {
            end: end(address),
            from_ns,
            tgid: (tgid != 0).then_some(tgid),
        });
    }

    #[test]
    fn an_owner_is_known_from_when_it_was_found_until_its_sockets_change() {
        let mut listeners = Listeners::new();
        let at = end("10.0.0.1:443");
        assert_eq!(listeners.owner(&at, 10), None);
        found(&mut listeners, "10.0.0.1:443", 7, 5);
        let known = [4, 5, 100].map(|time_ns| listeners.owner(&at, time_ns));
        assert_eq!(known, [None, Some(7), Some(7)]);
        change(&mut listeners, "0.0.0.0:443", 20);
        let known = [19, 20].map(|time_ns| listeners.owner(&at, time_ns));
        assert_eq!(known, [Some(7), None]);
        // A long-running process opened its socket then.
        found(&mut listeners, "10.0.0.1:443", 8, 3);
        let known = [19, 20].map(|time_ns| listeners.owner(&at, time_ns));
        assert_eq!(known, [Some(7), Some(8)]);
    }

    #[test]
    fn an_owner_that_is_no_longer_alone_is_unknown_since_it_was_last_seen_alone() {
        let mut listeners = Listeners::new();
        let at = end("[2001:db8::1]:443");
        found(&mut listeners, "[2001:db8::1]:443", 7, 5);
        found(&mut listeners, "[2001:db8::1]:443", 0, 15);
        found(&mut listeners, "[2001:db8::1]:443", 8, 18);
        let known = [14, 15, 17, 18].map(|time_ns| listeners.owner(&at, time_ns));
        assert_eq!(known, [Some(7), None, None, Some(8)]);
    }

    #[test]
    fn sockets_at_other_addresses_and_ports_change_nothing() {
        let mut listeners = Listeners::new();
        let at = end("10.0.0.1:443");
        found(&mut listeners, "10.0.0.1:443", 7, 5);
        for other in ["10.0.0.2:443", "10.0.0.1:8443", "[2001:db8::1]:443"] {
            change(&mut listeners, other, 10);
        }
        assert_eq!(listeners.owner(&at, 10), Some(7));
        assert_eq!(listeners.owner(&end("10.0.0.2:443"), 10), None);
        change(&mut listeners, "[::]:443", 11);
        assert_eq!(listeners.owner(&at, 11), None);
    }

    #[test]
    fn changes_that_were_not_reported_leave_the_owner_unknown() {
        let mut listeners = Listeners::new();
        let at = end("10.0.0.1:443");
        found(&mut listeners, "10.0.0.1:443", 7, 5);
        listeners.change(&ListenerChange {
            time_ns: 20,
            end: at,
            until_ns: 30,
        });
        found(&mut listeners, "10.0.0.1:443", 8, 25);
        let known = [19, 20, 29, 30].map(|time_ns| listeners.owner(&at, time_ns));
        assert_eq!(known, [Some(7), None, None, Some(8)]);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut listeners = Listeners::new();
        for port in 1..3_000 {
            for last in 1..4 {
                found(&mut listeners, &format!("10.0.0.{last}:{port}"), 7, 5);
            }
        }
        assert_eq!(listeners.len(), MAX_PORTS.get());
        assert!(listeners.evicted() > 0);
        for last in 1..200 {
            for tgid in 1..9 {
                let from_ns = u64::from(tgid);
                found(&mut listeners, &format!("10.0.0.{last}:443"), tgid, from_ns);
            }
        }
        let addresses = listeners.ports.get(&key(&end("10.0.0.1:443"))).unwrap();
        assert_eq!(addresses.len(), MAX_ADDRESSES);
        assert!(addresses.iter().all(|one| one.owners.len() <= MAX_OWNERS));
    }
}
