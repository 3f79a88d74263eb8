//! Protocol version.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// Protocol version of a handshake.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
pub enum Version {
    /// TLS 1.0.
    #[strum(serialize = "1.0")]
    V10,
    /// TLS 1.1.
    #[strum(serialize = "1.1")]
    V11,
    /// TLS 1.2.
    #[strum(serialize = "1.2")]
    V12,
    /// TLS 1.3.
    #[strum(serialize = "1.3")]
    V13,
    /// DTLS, SSL 3.0, or not read.
    #[strum(serialize = "other")]
    Other,
}

labelled!(Version);

impl Version {
    /// Decodes the number on the wire (RFC 8446, section 4.1.2, and its predecessors).
    #[must_use]
    pub const fn from_wire(version: u32) -> Self {
        match version {
            0x0301 => Self::V10,
            0x0302 => Self::V11,
            0x0303 => Self::V12,
            0x0304 => Self::V13,
            _ => Self::Other,
        }
    }
}
