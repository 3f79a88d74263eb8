//! The location of one field of a connection object.
//!
//! Part of every plan. `fields`, `boringssl`, `stripped` and `field_inference` decode them; the
//! handshake sensor hands them to the BPF programs.

use serde::{Serialize, Serializer};

/// Limit of pointers on the path to a field.
pub(super) const MAX_POINTERS: usize = 2;

/// A location in the connection object (`SSL`/`SSL_CONNECTION`), or behind pointers in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Offsets of the pointers that lead to it, bytes, the first in the connection object; `None`
    /// where there are fewer.
    pub through: [Option<u32>; MAX_POINTERS],
    /// Offset in the object that the last pointer leads to, bytes.
    pub offset: u32,
    /// Bits of the four bytes there that are the field; all of them for an int, a pointer or
    /// longer.
    pub mask: u32,
}

impl Field {
    /// Creates the location of an int or a pointer in the connection object itself.
    #[must_use]
    pub const fn direct(offset: u32) -> Self {
        Self {
            through: [None; MAX_POINTERS],
            offset,
            mask: u32::MAX,
        }
    }

    /// Restricts the location to these bits.
    #[must_use]
    pub(super) const fn bits(self, mask: u32) -> Self {
        Self { mask, ..self }
    }

    /// Returns the offset in the connection object, if the field is an int or a pointer there.
    #[must_use]
    pub(super) fn in_connection(self) -> Option<u32> {
        (self == Self::direct(self.offset)).then_some(self.offset)
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for pointer in self.through.iter().flatten() {
            write!(f, "{pointer:#x} -> ")?;
        }
        write!(f, "{:#x}", self.offset)?;
        match self.mask {
            u32::MAX => Ok(()),
            mask => write!(f, " & {mask:#x}"),
        }
    }
}

/// A plain field, as most are, is its offset; any other is a map of pointers, offset and mask.
impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(offset) = self.in_connection() {
            return serializer.serialize_u32(offset);
        }
        let [pointer, second_pointer] = self.through;
        let mask = (self.mask != u32::MAX).then_some(self.mask);
        let parts = [
            ("pointer", pointer),
            ("second_pointer", second_pointer),
            ("offset", Some(self.offset)),
            ("mask", mask),
        ];
        let known = parts
            .into_iter()
            .filter_map(|(name, part)| Some((name, part?)));
        serializer.collect_map(known)
    }
}

#[cfg(test)]
impl Field {
    /// Creates the location of an int behind a pointer in the connection object.
    #[must_use]
    pub(super) const fn behind(pointer: u32, offset: u32) -> Self {
        Self {
            through: [Some(pointer), None],
            offset,
            mask: u32::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_fields_are_numbers() {
        let json = |field: Field| serde_json::to_string(&field).expect("plain data");
        assert_eq!(json(Field::direct(72)), "72");
        let bit = Field::behind(48, 212).bits(0x40);
        assert_eq!(json(bit), r#"{"pointer":48,"offset":212,"mask":64}"#);
        assert_eq!(bit.to_string(), "0x30 -> 0xd4 & 0x40");
        assert_eq!(
            (bit.in_connection(), Field::direct(7).in_connection()),
            (None, Some(7))
        );
    }
}
