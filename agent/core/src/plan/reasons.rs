//! The names of a library's error reasons, from the table of its own error messages.
//!
//! The table is an array of `ERR_STRING_DATA` (include/openssl/err.h): a packed number, then a
//! pointer to its text. `SSL_str_reasons` (ssl/ssl_err.c) is in libssl up to 3.x, and in libcrypto
//! where it moved to crypto/ssl_err.c.

use std::collections::BTreeMap;

use super::elf::Image;

/// `SSL_R_NO_SHARED_CIPHER`, which every version has, with this text.
const KNOWN: (u64, &str) = (193, "no shared cipher");
/// `ERR_PACK(ERR_LIB_SSL, 0, 0)`: library 20 in the top nine of 32 bits since 3.0, in the top eight
/// before.
const PACKED: [u64; 2] = [20 << 23, 20 << 24];
/// Bits of the reason in a packed number.
const REASON: u64 = 0x0fff;
/// Size of an entry, bytes.
const ENTRY: u64 = 16;
/// Limit of entries in each direction from the known one. OpenSSL 3.5 has about 330.
const MAX_ENTRIES: u64 = 1024;

/// Returns OpenSSL's texts in snake case, by number; empty where the table is not found.
pub(super) fn find(image: &Image<'_>) -> BTreeMap<u32, String> {
    PACKED
        .iter()
        .find_map(|packed| {
            let known = image.words_equal_to(packed | KNOWN.0);
            known.into_iter().find_map(|at| table(image, *packed, at))
        })
        .unwrap_or_default()
}

/// The entries around the known one at the address `known`.
fn table(image: &Image<'_>, packed: u64, known: u64) -> Option<BTreeMap<u32, String>> {
    let entry = |at: u64| {
        let number = image.number(at, 8)?;
        let text = image.text(image.pointer(at.checked_add(8)?)?)?;
        (number & !REASON == packed && !text.is_empty())
            .then(|| ((number & REASON) as u32, snake_case(text)))
    };
    if entry(known)?.1 != snake_case(KNOWN.1) {
        return None;
    }
    let before = (1..MAX_ENTRIES).map_while(|n| entry(known.checked_sub(n * ENTRY)?));
    let after = (0..MAX_ENTRIES).map_while(|n| entry(known.checked_add(n * ENTRY)?));
    Some(before.chain(after).collect())
}

/// Converts `no shared cipher` to `no_shared_cipher`.
fn snake_case(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        elf::Tables,
        pages::Pages,
        tests::{CODE, elf_from_code},
    };

    /// Names read from a file with a table of these entries, followed by their texts.
    fn names(packed: u64, entries: &[(u64, &str)]) -> BTreeMap<u32, String> {
        let mut texts = Vec::new();
        let mut bytes: Vec<u8> = vec![0; 8];
        let text_at = CODE + 8 + 16 * entries.len() as u64;
        for (number, text) in entries {
            bytes.extend((packed | number).to_le_bytes());
            bytes.extend((text_at + texts.len() as u64).to_le_bytes());
            texts.extend(text.as_bytes());
            texts.push(0);
        }
        bytes.extend(texts);
        let file = elf_from_code(&bytes);
        let pages = Pages::new(&file);
        find(&Image::parse(&pages, Tables::All).unwrap())
    }

    #[test]
    fn table_is_read_in_both_directions_from_the_known_entry() {
        let entries = [
            (277, "session id context uninitialized"),
            (193, "no shared cipher"),
            (1040, "ssl/tls alert handshake failure"),
        ];
        let want: BTreeMap<_, _> = [
            (193, "no_shared_cipher"),
            (277, "session_id_context_uninitialized"),
            (1040, "ssl_tls_alert_handshake_failure"),
        ]
        .map(|(number, name)| (number, name.to_owned()))
        .into();
        for packed in PACKED {
            assert_eq!(names(packed, &entries), want);
        }
        assert!(names(16 << 24, &entries).is_empty());
    }

    #[test]
    fn number_without_its_text_is_no_table() {
        assert!(names(PACKED[0], &[(193, "something else")]).is_empty());
    }
}
