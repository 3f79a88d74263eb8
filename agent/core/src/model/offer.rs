//! What a ClientHello offered.

use super::Mechanism;

/// What a ClientHello offered to resume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offer {
    /// The ClientHello was not read.
    #[default]
    Unknown,
    /// It offered no session.
    Nothing,
    /// It offered external PSKs, and no session.
    ExternalPsk,
    /// It offered a session by this mechanism.
    Session(Mechanism),
}
