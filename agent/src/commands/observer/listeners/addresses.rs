//! Addresses of services that only their packets show. Bounded: the one that served least recently
//! is evicted, so that a program which serves on many ports does not displace busy services.

use std::{collections::HashMap, num::NonZeroUsize};

use lru::LruCache;
use reprise_ebpf::{
    V4_MAPPED,
    handshake::{HandshakeEvent, role, socket_source},
    listener::{ListenerKey, MAX_ADDRESSES},
};

use crate::bpf::HandshakeSensor;
use reprise_core::pipeline::wire::{WireRecord, end};

/// Addresses; each has up to three entries in the kernel's map.
const MAX: NonZeroUsize = NonZeroUsize::new(MAX_ADDRESSES as usize / 4).unwrap();
/// How long the record of a library may arrive after that of the packets, nanoseconds.
const LIBRARY_NS: u64 = 100_000_000;
/// How long a library's handshake shows that the service has a library, nanoseconds.
const HAS_LIBRARY_NS: u64 = 60_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    /// Handshakes were seen on the wire since then; a library may still report them.
    New { since_ns: u64 },
    /// A library reported handshakes, the last one then.
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
        if record.role != role::SERVER || record.end != end::COMPLETED {
            return;
        }
        let key = ListenerKey {
            local: record.socket.local,
            netns: record.socket.netns,
            port: record.socket.local_port,
            reserved: 0,
        };
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
        let key = ListenerKey {
            local: record.socket.local,
            netns: record.socket.netns,
            port: record.socket.local_port,
            reserved: 0,
        };
        let last_ns = now_ns;
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
    pub(super) fn register_new(&mut self, sensor: &HandshakeSensor, now_ns: u64) -> bool {
        for key in std::mem::take(&mut self.evicted) {
            self.unregister(&key, sensor);
        }
        let mut any = false;
        for key in std::mem::take(&mut self.new) {
            match self.addresses.peek(&key) {
                Some(Address::New { since_ns }) if since_ns + LIBRARY_NS > now_ns => {
                    self.new.push(key);
                }
                Some(Address::New { .. }) => {
                    if self.register(&key, sensor) {
                        any = true;
                        if let Some(address) = self.addresses.peek_mut(&key) {
                            *address = Address::Registered;
                        }
                    }
                }
                _ => {}
            }
        }
        any
    }

    fn register(&mut self, key: &ListenerKey, sensor: &HandshakeSensor) -> bool {
        let mut result = Ok(());
        for entry in entries(key) {
            let registration = self.registrations.entry(entry).or_default();
            registration.users += 1;
            if registration.users == 1 {
                result = result.and(sensor.register_listener(&entry));
            }
        }
        if let Err(error) = &result {
            tracing::debug!(reason = %error, "address not registered");
            self.unregister(key, sensor);
        }
        result.is_ok()
    }

    fn unregister(&mut self, key: &ListenerKey, sensor: &HandshakeSensor) {
        for entry in entries(key) {
            if let Some(registration) = self.registrations.get_mut(&entry) {
                registration.users = registration.users.saturating_sub(1);
                if registration.users == 0 {
                    self.registrations.remove(&entry);
                    sensor.unregister_listener(&entry);
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

/// The addresses at which a socket listens that accepts connections to this one: itself, and the
/// unspecified ones.
fn entries(key: &ListenerKey) -> impl Iterator<Item = ListenerKey> + use<> {
    let is_ipv4 = key.local[0] == 0 && key.local[1] as u32 == V4_MAPPED as u32;
    let at = |local| ListenerKey { local, ..*key };
    let four = is_ipv4.then(|| at([0, V4_MAPPED]));
    [Some(*key), four, Some(at([0, 0]))].into_iter().flatten()
}
