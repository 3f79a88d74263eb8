//! Resumption mechanism.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// How a client offers a session.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Mechanism {
    /// Session ID, TLS 1.2 and below.
    SessionId,
    /// Session ticket, TLS 1.2 and below.
    Ticket,
    /// PSK identity, TLS 1.3.
    Psk,
}

labelled!(Mechanism);
