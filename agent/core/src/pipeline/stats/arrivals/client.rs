//! A client of a service, by its address: what it did since it was first observed.

use std::net::IpAddr;

use bitflags::bitflags;

use super::visit::{Offered, Visit};
use crate::{
    model::{ClientKind, Connection, NetworkNamespace, Suspicion},
    pipeline::stats::service_port::ServicePort,
};

/// Slots in the window.
pub(super) const SLOTS: u32 = 10;
/// Slots after its first completed handshake from which on a client is known: at least one whole
/// slot lies between.
const KNOWN_AFTER: u32 = 2;
/// The slot since which a client is known that came with a session of the service.
const BEFORE: u32 = 0;
/// Different sessions that nobody issued, from which on they are no leftovers of another service: a
/// working client offers the session that it was given last.
const MAX_FOREIGN: u8 = 2;
/// Sessions given to a client within a window, none of which it has offered.
const MANY_SESSIONS: u8 = 8;

/// Address of a client: IPv6 networks stand for one client, which may use several addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ClientAddress {
    V4([u8; 4]),
    V6Network([u8; 8]),
}

/// A client of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    namespace: NetworkNamespace,
    port: ServicePort,
    address: ClientAddress,
}

impl ClientKey {
    pub(super) fn new(connection: &Connection, port: ServicePort) -> Self {
        let address = match connection.remote.ip() {
            IpAddr::V4(address) => ClientAddress::V4(address.octets()),
            IpAddr::V6(address) => {
                let octets = address.octets();
                ClientAddress::V6Network(std::array::from_fn(|at| octets[at]))
            }
        };
        Self {
            namespace: connection.namespace,
            port,
            address,
        }
    }
}

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Flags: u8 {
        /// No client that may have been this one had been forgotten when it was first observed.
        const FIRST_CONTACT = 1;
        /// It completed a handshake.
        const COMPLETED = 2;
        /// It offered a session of the service.
        const GENUINE = 4;
        /// It may have offered a session.
        const OFFERED = 8;
        /// It abandoned its newest handshake.
        const ABANDONED = 16;
    }
}

/// How a client is counted in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// New or unknown.
    Other,
    Returning,
    Suspect,
}

/// What is known of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// Number of its service.
    pub(super) service: u32,
    /// End of its first handshake, nanoseconds.
    first_ns: u64,
    /// Slot of its newest handshake.
    pub(super) newest: u32,
    /// Slot since which it is a client of the service; `None` without a completed handshake.
    since: Option<u32>,
    /// Part of the hash of the last session that it offered and nobody issued.
    foreign: u32,
    foreign_count: u8,
    given: u8,
    flags: Flags,
    suspicion: Option<Suspicion>,
}

impl Client {
    /// A client that was not observed before; `remembers` if none was forgotten for long.
    pub(super) const fn new(service: u32, slot: u32, remembers: bool) -> Self {
        Self {
            service,
            first_ns: u64::MAX,
            newest: slot,
            since: None,
            foreign: 0,
            foreign_count: 0,
            given: 0,
            flags: if remembers {
                Flags::FIRST_CONTACT
            } else {
                Flags::empty()
            },
            suspicion: None,
        }
    }

    /// Adds a handshake that ended in this slot. A miss that waited for evidence comes after later
    /// handshakes.
    pub(super) fn record(&mut self, visit: &Visit, slot: u32, slot_ns: u64) {
        let is_first = visit.time_ns < self.first_ns;
        self.first_ns = self.first_ns.min(visit.time_ns);
        if is_first && self.since == Some(BEFORE) {
            // The session that it came with was given in this handshake.
            self.since = Some(slot);
        }
        match visit.offered {
            Offered::Nothing => {}
            Offered::Unclear => self.flags |= Flags::OFFERED,
            Offered::OfService => {
                self.flags |= Flags::OFFERED | Flags::GENUINE;
                if is_first {
                    // The session was given before.
                    self.since = Some(BEFORE);
                }
            }
            Offered::NotIssued(token) => {
                self.flags |= Flags::OFFERED;
                let hash = token.hash as u32;
                if self.foreign_count == 0 || hash != self.foreign {
                    self.foreign = hash;
                    self.foreign_count = self.foreign_count.saturating_add(1);
                }
            }
        }
        self.given = self.given.saturating_add(u8::from(visit.given));
        self.flags.set(Flags::ABANDONED, visit.abandoned);
        self.newest = self.newest.max(slot);
        if visit.completed {
            self.flags |= Flags::COMPLETED;
            self.since = self.since.or(Some(slot));
        }
        let first = u32::try_from(self.first_ns / slot_ns).unwrap_or(u32::MAX);
        self.suspicion = self.suspicion_at(slot.saturating_sub(first));
    }

    /// How it is counted in its newest slot.
    pub(super) fn class(&self) -> Class {
        match (self.suspicion, self.kind()) {
            (Some(_), _) => Class::Suspect,
            (None, ClientKind::Returning) => Class::Returning,
            (None, _) => Class::Other,
        }
    }

    /// The suspicion so many slots after the first handshake. It ends when the client offers a
    /// session of the service. Only the first window after the first handshake can show invented or
    /// unused sessions: the longer a client is known, the more explanations there are.
    fn suspicion_at(&self, slots: u32) -> Option<Suspicion> {
        if self.flags.contains(Flags::GENUINE) {
            return None;
        }
        if !self.flags.contains(Flags::COMPLETED) {
            let is_abandoned = self.flags.contains(Flags::ABANDONED);
            return is_abandoned
                .then_some(Suspicion::NeverCompleted)
                .or(self.suspicion);
        }
        let former = self
            .suspicion
            .filter(|suspicion| *suspicion != Suspicion::NeverCompleted);
        if former.is_some() || slots >= SLOTS {
            return former;
        }
        if self.foreign_count >= MAX_FOREIGN {
            Some(Suspicion::InventedSessions)
        } else if self.given >= MANY_SESSIONS && !self.flags.contains(Flags::OFFERED) {
            Some(Suspicion::UnusedSessions)
        } else {
            None
        }
    }

    /// What was known of it at its newest handshake.
    pub(super) fn kind(&self) -> ClientKind {
        let is_known = self
            .since
            .is_some_and(|since| since.saturating_add(KNOWN_AFTER) <= self.newest);
        if is_known {
            ClientKind::Returning
        } else if self.flags.contains(Flags::FIRST_CONTACT) {
            ClientKind::New
        } else {
            ClientKind::Unknown
        }
    }

    /// Behaviour that no working client shows, of a client that was not forgotten before.
    pub(super) fn suspicion(&self) -> Option<Suspicion> {
        let is_certain = self.flags.contains(Flags::FIRST_CONTACT);
        self.suspicion.filter(|_| is_certain)
    }

    /// Whether it offered a session of the service.
    pub(super) const fn is_genuine(&self) -> bool {
        self.flags.contains(Flags::GENUINE)
    }

    /// Whether it abandoned its newest handshake.
    pub(super) const fn has_abandoned(&self) -> bool {
        self.flags.contains(Flags::ABANDONED)
    }
}
