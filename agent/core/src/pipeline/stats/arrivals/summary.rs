//! The clients of a service within the window, and what they show.

use enum_map::EnumMap;

use super::{
    client::{Class, Client},
    pace::Pace,
};
use crate::model::{ClientKind, Surge, Suspicion};

/// Clients from which on there is a surge.
const MIN_CLIENTS: u64 = 20;
/// Trusted clients from which on they can be compared with suspicious ones.
const MIN_TRUSTED: u64 = 5;
/// Evicted sessions of returning clients from which on a cache is filled to their disadvantage.
const MIN_EVICTED: u64 = 5;

/// Returning clients without a suspicion, with which the suspicious ones are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrustedClients {
    /// All of them.
    pub clients: u64,
    /// Those that abandoned their newest handshake.
    pub abandoned: u64,
    /// Those that have offered a session of the service.
    pub genuine: u64,
}

/// Clients of one service with a handshake within the window, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServiceArrivals {
    /// Clients by what was known of them at their newest handshake.
    pub clients: EnumMap<ClientKind, u64>,
    /// Clients with a suspicion.
    pub suspects: EnumMap<Suspicion, u64>,
    /// Clients to compare them with.
    pub trusted: TrustedClients,
    /// Returning clients without a suspicion, per slot.
    pub returning: Pace,
    /// Suspects per slot.
    pub suspects_pace: Pace,
    /// Sessions of returning clients that were evicted from a cache within the window.
    pub evicted: u64,
    /// The service was observed for two windows: what is usual is known.
    pub is_learned: bool,
    /// No client was forgotten recently: who was not observed before is new.
    pub knows_new: bool,
}

impl ServiceArrivals {
    pub(super) fn add(&mut self, client: &Client) {
        self.clients[client.kind()] += 1;
        if let Some(suspicion) = client.suspicion() {
            self.suspects[suspicion] += 1;
        } else if client.class() == Class::Returning {
            self.trusted.clients += 1;
            self.trusted.abandoned += u64::from(client.has_abandoned());
            self.trusted.genuine += u64::from(client.is_genuine());
        }
    }

    /// What the clients show: pure, and nothing unless all of the evidence is positive.
    #[must_use]
    pub fn surge(&self) -> Surge {
        if !self.is_learned {
            Surge::Unknown
        } else if self.is_storm() {
            Surge::Storm
        } else if self.suspects.values().sum::<u64>() < MIN_CLIENTS
            || !self.suspects_pace.is_surge()
        {
            Surge::None
        } else if self.comparable_suspects() >= MIN_CLIENTS {
            Surge::Attack
        } else {
            Surge::Unknown
        }
    }

    /// Whether known clients return at once, and hardly any others come.
    fn is_storm(&self) -> bool {
        let all: u64 = self.clients.values().sum();
        let suspects: u64 = self.suspects.values().sum();
        self.returning.highest >= MIN_CLIENTS
            && self.returning.is_surge()
            && self.clients[ClientKind::Returning] * 5 >= all * 4
            && suspects * 10 <= all
    }

    /// Suspects whose behaviour trusted clients do not show at the same time: otherwise the cause
    /// is the service itself, or the network.
    fn comparable_suspects(&self) -> u64 {
        let TrustedClients {
            clients,
            abandoned,
            genuine,
        } = self.trusted;
        let completes = clients >= MIN_TRUSTED && abandoned * 10 <= clients;
        let resumes = genuine >= MIN_TRUSTED;
        let fills_cache = resumes && self.evicted >= MIN_EVICTED;
        let counted = self
            .suspects
            .iter()
            .filter(|(suspicion, _)| match suspicion {
                Suspicion::NeverCompleted => completes,
                Suspicion::InventedSessions => resumes,
                Suspicion::UnusedSessions => fills_cache,
            });
        counted.map(|(_, count)| count).sum()
    }
}
