//! Decoding of the sensors' records from bytes.

use thiserror::Error;
use zerocopy::FromBytes;

/// Why bytes are not a record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than the record's kind requires.
    #[error("event of {got} bytes is shorter than the {want} its kind needs")]
    Short {
        /// Bytes available.
        got: usize,
        /// Bytes required.
        want: usize,
    },
    /// Unknown kind.
    #[error("unknown event kind {0}")]
    Kind(u32),
}

/// Reads a record from the beginning of `bytes`.
pub(super) fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read_from_prefix(bytes)
        .map(|(value, _)| value)
        .map_err(|_| DecodeError::Short {
            got: bytes.len(),
            want: size_of::<T>(),
        })
}
