//! Hashed session IDs, tickets and PSK identities.

use std::num::NonZeroU32;

/// A session ID, session ticket or PSK identity, as a hash: enough to recognise one, useless to
/// resume with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// First eight bytes of its SHA-256.
    pub hash: u64,
    /// Name of the key that a ticket is encrypted with; `None` for a session ID.
    pub key: Option<KeyName>,
    /// Its length, bytes; never 0.
    pub length: u32,
}

/// Name of a ticket encryption key: the first four bytes of the SHA-256 of a ticket's first sixteen
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(pub NonZeroU32);

impl KeyName {
    /// The name with this hash; `None` for 0, which no key has.
    #[must_use]
    pub const fn new(hash: u32) -> Option<Self> {
        match NonZeroU32::new(hash) {
            Some(hash) => Some(Self(hash)),
            None => None,
        }
    }

    /// Its hash.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}
