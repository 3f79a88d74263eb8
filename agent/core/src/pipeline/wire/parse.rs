//! Parser of hello messages into a [`WireRecord`]. The bytes are not trusted and not retained.

use tls_parser::{
    TlsClientHelloContents, TlsExtension, TlsMessageHandshake, parse_tls_client_hello_extension,
    parse_tls_extension_unknown, parse_tls_handshake_client_hello,
    parse_tls_handshake_msg_newsessionticket, parse_tls_handshake_server_hello,
    parse_tls_server_hello_extension,
};

use super::{
    hash,
    record::{TokenRecord, WireRecord, flag},
};

/// `random` of a ServerHello that is a HelloRetryRequest (RFC 8446, section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Extension numbers (RFC 8446, section 4.2).
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

/// Reads a ClientHello; a second one, after a HelloRetryRequest, replaces the first.
pub(super) fn client_hello(body: &[u8], event: &mut WireRecord) {
    let Ok((_, hello)) = parse_tls_handshake_client_hello(body) else {
        return;
    };
    let TlsClientHelloContents {
        version,
        random,
        session_id,
        ext,
        ..
    } = hello;
    // A client that sent early data repeats its ClientHello without (RFC 8446, section 4.1.2).
    let announced = match event.has(flag::RETRY) {
        true => flag::EARLY_DATA,
        false => 0,
    };
    event.flags &= flag::RETRY | flag::ANSWER_READ | flag::LATE | announced;
    event.flags |= flag::OFFER_READ;
    event.client_random = random.try_into().unwrap_or_default();
    event.session_id = hash::session_id(session_id.unwrap_or_default());
    event.ticket = TokenRecord::NONE;
    event.identities = Default::default();
    event.identity_count = 0;
    event.external = 0;
    event.offered_version = version.0;
    for_each_extension(ext.unwrap_or_default(), |_, bytes| {
        // An extension that cannot be parsed is skipped.
        let Ok((_, extension)) = parse_tls_client_hello_extension(bytes) else {
            return;
        };
        match extension {
            TlsExtension::SNI(names) => {
                event.server_name = names.first().map_or(0, |(_, name)| hash::short(name));
            }
            TlsExtension::SessionTicket(ticket) => {
                event.flags |= flag::TICKETS;
                event.ticket = hash::ticket(ticket);
            }
            TlsExtension::PreSharedKey(keys) => identities(keys, event),
            TlsExtension::PskExchangeModes(modes) => {
                for mode in modes {
                    event.flags |= match mode {
                        0 => flag::PSK_KE,
                        1 => flag::PSK_DHE_KE,
                        _ => 0,
                    };
                }
            }
            TlsExtension::SupportedVersions(versions) => {
                let versions = versions.iter().map(|version| version.0);
                let highest = versions.filter(|version| (0x0301..=0x0304).contains(version));
                event.offered_version = highest.max().unwrap_or(event.offered_version);
            }
            TlsExtension::EarlyData(_) => event.flags |= flag::EARLY_DATA,
            TlsExtension::SignedCertificateTimestamp(_) => event.flags |= flag::TIMESTAMPS,
            TlsExtension::ExtendedMasterSecret => event.flags |= flag::EXTENDED_MASTER_SECRET,
            _ => {}
        }
    });
}

/// Longest identity that every implementation of external PSKs supports (RFC 4279, section 5.3).
const LONGEST_EXTERNAL: usize = 128;

/// Reads `OfferedPsks` (RFC 8446, section 4.2.11): identities with their ages, then binders.
///
/// An identity is external where its age is 0 and its length is not unusual. The age of a ticket is
/// 0 once in four billion times, since the issuer chooses a random number that is added to it.
fn identities(bytes: &[u8], event: &mut WireRecord) {
    let Some((mut list, _)) = vector(bytes) else {
        return;
    };
    while let Some((identity, rest)) = vector(list) {
        let (obfuscated_age, rest) = rest.split_at_checked(4).unwrap_or_default();
        let external = obfuscated_age == [0; 4] && identity.len() <= LONGEST_EXTERNAL;
        if let Some(slot) = event.identities.get_mut(usize::from(event.identity_count)) {
            *slot = if external {
                hash::session_id(identity)
            } else {
                hash::ticket(identity)
            };
            event.external |= u8::from(external) << event.identity_count;
        }
        event.identity_count += 1;
        list = rest;
    }
}

/// Splits off a vector with a two-byte length; returns its content and the rest.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Reads a ServerHello or HelloRetryRequest.
pub(super) fn server_hello(body: &[u8], event: &mut WireRecord) {
    let Ok((_, hello)) = parse_tls_handshake_server_hello(body) else {
        return;
    };
    if hello.random == RETRY_RANDOM {
        event.flags |= flag::RETRY;
        return;
    }
    event.flags |= flag::ANSWER_READ;
    event.version = hello.version.0;
    event.cipher = hello.cipher.0;
    event.given_id = hash::session_id(hello.session_id.unwrap_or_default());
    for_each_extension(hello.ext.unwrap_or_default(), |kind, bytes| {
        match (kind, parse_tls_server_hello_extension(bytes)) {
            (SUPPORTED_VERSIONS, Ok((_, TlsExtension::SupportedVersions(versions)))) => {
                if let Some(version) = versions.first() {
                    event.version = version.0;
                }
            }
            (PRE_SHARED_KEY, Ok((_, TlsExtension::PreSharedKey([high, low])))) => {
                event.flags |= flag::PSK_ACCEPTED;
                event.accepted = u16::from_be_bytes([*high, *low]);
            }
            _ => {}
        }
    });
    if event.given_id != TokenRecord::NONE && event.given_id == event.session_id {
        event.flags |= flag::ID_ECHOED;
    }
}

/// Reads the NewSessionTicket of TLS 1.2 and below (RFC 5077, section 3.3).
pub(super) fn new_session_ticket(body: &[u8], event: &mut WireRecord) {
    let message = parse_tls_handshake_msg_newsessionticket(body, body.len());
    if let Ok((_, TlsMessageHandshake::NewSessionTicket(content))) = message {
        event.lifetime = content.ticket_lifetime_hint;
        // The ticket is preceded by its own length.
        if let Some((ticket, _)) = vector(content.ticket) {
            event.given_ticket = hash::ticket(ticket);
        }
    }
}

/// Calls `read` with type and bytes of each extension, up to the first truncated one.
fn for_each_extension(mut bytes: &[u8], mut read: impl FnMut(u16, &[u8])) {
    while let Ok((rest, TlsExtension::Unknown(kind, _))) = parse_tls_extension_unknown(bytes) {
        read(kind.0, &bytes[..bytes.len() - rest.len()]);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `OfferedPsks` without binders.
    fn offered(list: &[(&[u8], u32)]) -> Vec<u8> {
        let identity = |(identity, age): &(&[u8], u32)| {
            let length = (identity.len() as u16).to_be_bytes();
            [&length, *identity, &age.to_be_bytes()].concat()
        };
        let list: Vec<u8> = list.iter().flat_map(identity).collect();
        [&(list.len() as u16).to_be_bytes(), &list[..]].concat()
    }

    #[test]
    fn identity_with_age_0_is_external_and_names_no_key() {
        let (name, ticket) = (b"sensor-number-0001".as_slice(), [7; 200].as_slice());
        for (list, count, external) in [
            (vec![(name, 0)], 1, 1),
            (vec![(name, 9)], 1, 0),
            (vec![(ticket, 0)], 1, 0),
            (vec![(ticket, 9), (name, 0)], 2, 2),
            (vec![(name, 0); 9], 9, 15),
        ] {
            let mut event = WireRecord::BLANK;
            identities(&offered(&list), &mut event);
            assert_eq!((event.identity_count, event.external), (count, external));
            for (index, token) in event.identities.iter().enumerate() {
                assert!(external >> index & 1 == 0 || token.key == 0);
            }
        }
        // A truncated age.
        let mut event = WireRecord::BLANK;
        identities(&[0, 5, 0, 1, b'a', 0, 0], &mut event);
        assert_eq!((event.identity_count, event.external), (1, 0));
    }
}
