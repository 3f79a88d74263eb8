//! Short hashes that replace session IDs and tickets: they identify a session, and nobody can
//! resume it with them.

use sha2::{Digest as _, Sha256};

use super::record::TokenRecord;

/// Length of a ticket's key name (RFC 5077, section 4), as OpenSSL and GnuTLS issue it.
const KEY_NAME: usize = 16;
/// Length of a session ID, and of a PSK identity that is one (OpenSSL without tickets): not
/// encrypted, so it has no key name.
const STATEFUL: usize = 32;

/// First eight bytes of the SHA-256, which replace an ID or a ticket.
#[must_use]
pub fn short(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Token of a session ID.
pub(super) fn session_id(bytes: &[u8]) -> TokenRecord {
    if bytes.is_empty() {
        return TokenRecord::NONE;
    }
    TokenRecord {
        hash: short(bytes),
        key: 0,
        length: bytes.len() as u32,
    }
}

/// Token of a ticket or a PSK identity.
pub(super) fn ticket(bytes: &[u8]) -> TokenRecord {
    let key = match bytes.get(..KEY_NAME) {
        Some(name) if bytes.len() != STATEFUL => (short(name) >> 32) as u32,
        _ => 0,
    };
    TokenRecord {
        key,
        ..session_id(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_name_is_the_first_eight_digits_of_its_hash() {
        let mut bytes = b"NGINX-STEK-NAME!".to_vec();
        bytes.extend([7; 200]);
        // `printf NGINX-STEK-NAME! | sha256sum`
        assert_eq!(format!("{:08x}", ticket(&bytes).key), "dfdd5cf9");
        assert_eq!(ticket(&bytes).length, 216);
    }

    #[test]
    fn other_lengths_have_no_key_name() {
        assert_eq!(ticket(&[1; 32]).key, 0);
        assert_eq!(ticket(&[1; 15]).key, 0);
        assert_eq!(ticket(&[]), TokenRecord::NONE);
        assert_eq!(session_id(&[]), TokenRecord::NONE);
        assert_ne!(session_id(&[1; 32]), session_id(&[2; 32]));
    }
}
