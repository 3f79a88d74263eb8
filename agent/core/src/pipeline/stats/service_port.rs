//! Ports of services on this host.

use std::fmt;

/// Port of a server on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServicePort {
    /// A port with a name of its own.
    Number(u16),
    /// Ephemeral ports, folded.
    Ephemeral,
    /// The connection is not known.
    Unknown,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => port.fmt(f),
            Self::Ephemeral => f.write_str("ephemeral"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
