//! Side of a handshake.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Side of the observed process.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Accepting side.
    Server,
    /// Connecting side.
    Client,
}

impl Role {
    /// Both roles, in the order of their index.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Label value.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}
