//! Clients of a service: which are known, which are suspicious, and what their number shows.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// What is known of a client, by its address, at a handshake with a service.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum ClientKind {
    /// It completed a handshake with the service before, or came with a session of the service.
    Returning,
    /// It was not observed before, by an agent that remembers all clients for long enough.
    New,
    /// It was not observed before, and may have been forgotten.
    Unknown,
}

labelled!(ClientKind);

/// Behaviour that no working client shows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Suspicion {
    /// It began handshakes and has completed none.
    NeverCompleted,
    /// It offered different sessions that the service did not issue, and none that it was given.
    InventedSessions,
    /// It was given many sessions and has offered none.
    UnusedSessions,
}

labelled!(Suspicion);

/// What the clients of a service within the window show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Surge {
    /// Not enough evidence.
    #[default]
    Unknown,
    /// The usual clients.
    None,
    /// Known clients return at once.
    Storm,
    /// Suspicious clients, far more than usual, beside known ones that behave well.
    Attack,
}

labelled!(Surge);
