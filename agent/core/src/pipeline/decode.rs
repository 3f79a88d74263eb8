//! Decoding of the sensors' records from bytes.

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

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

/// The same for a record that has grown: the fields behind its first `old` bytes are zeroes where
/// they are missing, in recordings made before they existed.
pub(super) fn prefix_since<T: FromBytes + IntoBytes>(
    bytes: &[u8],
    old: usize,
) -> Result<T, DecodeError> {
    prefix(bytes).or_else(|error| {
        let mut record = T::new_zeroed();
        let bytes = bytes.get(..old).ok_or(error)?;
        record.as_mut_bytes()[..old].copy_from_slice(bytes);
        Ok(record)
    })
}
