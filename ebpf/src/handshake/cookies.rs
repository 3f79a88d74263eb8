//! Attach cookies: what a program knows about its attach point.

/// Attach cookie of an exit: library index and stack distance.
#[must_use]
pub const fn cookie(library: u32, sp_delta: u32) -> u64 {
    (sp_delta as u64) << 32 | library as u64
}

/// Attach cookie of the function that raises errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCookie {
    /// Index of the argument that is the reason (0-based): 1 or 2.
    pub reason_arg: u8,
    /// Number of the SSL library in argument 0.
    pub library: u32,
    /// First reason that has OpenSSL's meaning.
    pub first_reason: u32,
}

impl ErrorCookie {
    /// Encodes it as an attach cookie.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.first_reason as u64) << 32
            | (self.library as u64 & 0xffff) << 8
            | self.reason_arg as u64
    }

    /// Decodes [`Self::bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            reason_arg: bits as u8,
            library: (bits >> 8) as u32 & 0xffff,
            first_reason: (bits >> 32) as u32,
        }
    }
}
