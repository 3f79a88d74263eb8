//! Full or resumed.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// Whether a completed handshake resumed a session.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Resumption {
    /// Full handshake.
    Full,
    /// Resumed handshake.
    Resumed,
    /// Handshake with a pre-shared key that no server issued (RFC 8446, section 2.2): neither full
    /// nor resumed, and excluded from ratios.
    ExternalPsk,
    /// The library's field was not decoded. Never guessed, and excluded from ratios.
    Unknown,
}

labelled!(Resumption);

impl Resumption {
    /// Whether a count is exported: `external_psk` and `unknown` only if it is not zero.
    #[must_use]
    pub const fn shows(self, count: u64) -> bool {
        matches!(self, Self::Full | Self::Resumed) || count > 0
    }

    /// [`Self::Resumed`] or [`Self::Full`].
    #[must_use]
    pub const fn from_resumed(resumed: bool) -> Self {
        if resumed { Self::Resumed } else { Self::Full }
    }
}
