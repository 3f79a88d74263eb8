//! Addresses of services that only their packets show. Bounded: the one that served least recently
//! is evicted, so that a program which serves on many ports does not displace busy services.

use std::{collections::HashMap, io, num::NonZeroUsize};

use lru::LruCache;
use reprise_ebpf::{
    Socket, V4_MAPPED,
    handshake::{HandshakeEvent, role, socket_source},
    listener::{ListenerKey, MAX_ADDRESSES},
};

use crate::bpf::HandshakeSensor;
use reprise_core::pipeline::wire::{WireRecord, end};

/// Maximum number of addresses; each has up to three entries in the kernel's map.
const MAX: NonZeroUsize = NonZeroUsize::new(MAX_ADDRESSES as usize / 4).unwrap();
/// Maximum time by which the record of a library may follow that of the packets, nanoseconds.
const LIBRARY_NS: u64 = 100_000_000;
/// Time for which a library's handshake shows that the service has a library, nanoseconds.
const HAS_LIBRARY_NS: u64 = 60_000_000_000;

/// The programs' map of registered addresses.
pub(super) trait Registry {
    /// Lets the programs report the listening sockets at an address.
    fn register(&self, key: &ListenerKey) -> io::Result<()>;
    /// Reverses [`Self::register`].
    fn unregister(&self, key: &ListenerKey);
}

impl Registry for HandshakeSensor {
    fn register(&self, key: &ListenerKey) -> io::Result<()> {
        self.register_listener(key)
    }

    fn unregister(&self, key: &ListenerKey) {
        self.unregister_listener(key);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    /// Handshakes were observed on the wire since then; a library may still report them.
    New { since_ns: u64 },
    /// A library reported handshakes; the time is that of the last one.
    OfLibrary { last_ns: u64 },
    /// Registered with the kernel.
    Registered,
}

/// An entry in the kernel's map.
#[derive(Debug, Clone, Copy, Default)]
struct Registration {
    /// Addresses that need it.
    users: u32,
    /// The last change of the sockets there.
    changed_ns: u64,
}

/// Table of addresses.
pub(super) struct Addresses {
    addresses: LruCache<ListenerKey, Address>,
    registrations: HashMap<ListenerKey, Registration>,
    /// Those that are [`Address::New`].
    new: Vec<ListenerKey>,
    /// Registered addresses that were evicted.
    evicted: Vec<ListenerKey>,
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self {
            addresses: LruCache::new(MAX),
            registrations: HashMap::new(),
            new: Vec::new(),
            evicted: Vec::new(),
        }
    }

    /// Records a handshake that its packets show.
    pub(super) fn served_on_wire(&mut self, record: &WireRecord, now_ns: u64) {
        if record.role == role::SERVER && record.end == end::COMPLETED {
            self.served(key(&record.socket), now_ns);
        }
    }

    fn served(&mut self, key: ListenerKey, now_ns: u64) {
        match self.addresses.get_mut(&key) {
            Some(Address::OfLibrary { last_ns }) if *last_ns + HAS_LIBRARY_NS > now_ns => {}
            Some(Address::New { .. } | Address::Registered) => {}
            Some(Address::OfLibrary { .. }) | None => {
                self.insert(key, Address::New { since_ns: now_ns });
                self.new.push(key);
            }
        }
    }

    /// Records a handshake that a library reports.
    pub(super) fn served_by_library(&mut self, record: &HandshakeEvent, now_ns: u64) {
        if record.role != role::SERVER || record.socket_source == socket_source::NONE {
            return;
        }
        self.has_library(key(&record.socket), now_ns);
    }

    fn has_library(&mut self, key: ListenerKey, last_ns: u64) {
        match self.addresses.get_mut(&key) {
            Some(Address::Registered) => {}
            Some(address) => *address = Address::OfLibrary { last_ns },
            None => self.insert(key, Address::OfLibrary { last_ns }),
        }
    }

    fn insert(&mut self, key: ListenerKey, address: Address) {
        if let Some((evicted, Address::Registered)) = self.addresses.push(key, address) {
            self.evicted.push(evicted);
        }
    }

    /// Registers the new addresses of services without a library; returns whether there were any.
    pub(super) fn register_new(&mut self, registry: &impl Registry, now_ns: u64) -> bool {
        for key in std::mem::take(&mut self.evicted) {
            self.unregister(&key, registry);
        }
        let mut any = false;
        for key in std::mem::take(&mut self.new) {
            match self.addresses.peek(&key).copied() {
                Some(Address::New { since_ns }) if since_ns + LIBRARY_NS > now_ns => {
                    self.new.push(key);
                }
                Some(Address::New { .. }) if self.register(&key, registry) => {
                    any = true;
                    if let Some(address) = self.addresses.peek_mut(&key) {
                        *address = Address::Registered;
                    }
                }
                _ => {}
            }
        }
        any
    }

    fn register(&mut self, key: &ListenerKey, registry: &impl Registry) -> bool {
        let mut result = Ok(());
        for entry in entries(key) {
            let registration = self.registrations.entry(entry).or_default();
            registration.users += 1;
            if registration.users == 1 {
                result = result.and(registry.register(&entry));
            }
        }
        if let Err(error) = &result {
            tracing::debug!(reason = %error, "address not registered");
            self.unregister(key, registry);
        }
        result.is_ok()
    }

    fn unregister(&mut self, key: &ListenerKey, registry: &impl Registry) {
        for entry in entries(key) {
            if let Some(registration) = self.registrations.get_mut(&entry) {
                registration.users = registration.users.saturating_sub(1);
                if registration.users == 0 {
                    self.registrations.remove(&entry);
                    registry.unregister(&entry);
                }
            }
        }
    }

    /// Records that the sockets at an address changed, until `until_ns` at the latest.
    pub(super) fn changed(&mut self, key: &ListenerKey, until_ns: u64) {
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.changed_ns = registration.changed_ns.max(until_ns);
        }
    }

    /// When the sockets that accept connections to an address changed last; 0 if never.
    pub(super) fn changed_ns(&self, key: &ListenerKey) -> u64 {
        let registrations = entries(key).filter_map(|entry| self.registrations.get(&entry));
        let changed = registrations.map(|registration| registration.changed_ns);
        changed.max().unwrap_or(0)
    }

    pub(super) fn is_registered(&self, key: &ListenerKey) -> bool {
        self.addresses.peek(key) == Some(&Address::Registered)
    }

    /// All registered addresses.
    pub(super) fn registered(&self) -> Vec<ListenerKey> {
        let registered = self.addresses.iter();
        let registered = registered.filter(|(_, address)| **address == Address::Registered);
        registered.map(|(key, _)| *key).collect()
    }
}

const fn key(socket: &Socket) -> ListenerKey {
    ListenerKey {
        local: socket.local,
        netns: socket.netns,
        port: socket.local_port,
        reserved: 0,
    }
}

/// The addresses at which a socket listens that accepts connections to this one: itself, and the
/// unspecified ones.
fn entries(key: &ListenerKey) -> impl Iterator<Item = ListenerKey> + use<> {
    let is_ipv4 = key.local[0] == 0 && key.local[1] as u32 == V4_MAPPED as u32;
    let at = |local| ListenerKey { local, ..*key };
    let four = is_ipv4.then(|| at([0, V4_MAPPED]));
    [Some(*key), four, Some(at([0, 0]))].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::HashSet};

    use super::*;

    #[derive(Default)]
    struct Map(RefCell<HashSet<ListenerKey>>);

    impl Registry for Map {
        fn register(&self, key: &ListenerKey) -> io::Result<()> {
            assert!(self.0.borrow_mut().insert(*key), "registered twice");
            if self.0.borrow().len() > MAX_ADDRESSES as usize {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn unregister(&self, key: &ListenerKey) {
            assert!(self.0.borrow_mut().remove(key));
        }
    }

    fn at(last: u64, port: u16) -> ListenerKey {
        ListenerKey {
            local: [0, V4_MAPPED | last << 56 | 10 << 32],
            netns: 1,
            port,
            reserved: 0,
        }
    }

    #[test]
    fn addresses_of_services_without_a_library_are_registered() {
        let (mut addresses, map) = (Addresses::new(), Map::default());
        addresses.served(at(1, 443), 5);
        addresses.served(at(2, 443), 5);
        addresses.served(at(1, 8443), 5);
        addresses.has_library(at(1, 8443), 6);
        assert!(
            !addresses.register_new(&map, 5 + LIBRARY_NS - 1),
            "too early"
        );
        assert!(addresses.register_new(&map, 5 + LIBRARY_NS));
        assert!(!addresses.register_new(&map, 5 + LIBRARY_NS));
        // Both addresses of port 443, and the unspecified ones.
        assert_eq!(map.0.borrow().len(), 4);
        assert!(addresses.is_registered(&at(2, 443)) && !addresses.is_registered(&at(1, 8443)));
        let any = ListenerKey {
            local: [0, 0],
            ..at(0, 443)
        };
        addresses.changed(&at(1, 443), 9);
        addresses.changed(&any, 7);
        let changed = [at(1, 443), at(2, 443), at(1, 8443)].map(|key| addresses.changed_ns(&key));
        assert_eq!(changed, [9, 7, 0]);
        // The service has replaced its library.
        addresses.served(at(1, 8443), 7 + HAS_LIBRARY_NS);
        assert!(addresses.register_new(&map, 7 + HAS_LIBRARY_NS + LIBRARY_NS));
        assert_eq!(map.0.borrow().len(), 7);
    }

    #[test]
    fn the_addresses_are_bounded() {
        let (mut addresses, map) = (Addresses::new(), Map::default());
        for port in 1..5_000_u16 {
            let now_ns = u64::from(port) * LIBRARY_NS;
            addresses.served(at(1, port), now_ns);
            // A busy service stays.
            addresses.served(at(1, 443), now_ns);
            addresses.register_new(&map, now_ns + LIBRARY_NS);
        }
        assert_eq!(addresses.registered().len(), MAX.get());
        assert!(addresses.is_registered(&at(1, 443)));
        assert!(map.0.borrow().len() <= 3 * (MAX.get() + 1));
    }
}
