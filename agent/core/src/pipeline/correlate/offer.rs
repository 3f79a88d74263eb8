//! What a ClientHello offered to resume, as docs/contract.md counts it.
//!
//! - A PSK identity that a server issued: `psk`. One that is agreed on outside TLS: an external
//!   PSK.
//! - A session ticket with content: `ticket`. The session ID beside it only shows the client
//!   whether the server accepted the ticket (RFC 5077, section 3.4).
//! - A session ID, and TLS 1.3 is agreed on: nothing. The legacy field holds random bytes (RFC
//!   8446, section 4.1.2).
//! - A session ID, from a client that does not support TLS 1.3 and does not resemble Go's:
//!   `session_id`.
//! - A session ID, from any other client, and an older version is agreed on: `session_id`, if the
//!   server accepted the ID, if it was issued on this host, or if its length is not that of random
//!   IDs.
//!
//! The last kind is random, too, unless the client has a session of an older version: Go's client
//! sends a random ID in TLS 1.2 even without a session. The two look the same. An ID from elsewhere
//! that the server does not accept is therefore not counted: rather too few offers than invented
//! ones. Go's client always supports tickets and asks for certificate timestamps
//! (`makeClientHello`, crypto/tls/handshake_client.go); OpenSSL's, GnuTLS' and mbed TLS' ask for
//! them only if a program requests it, so that their offers of IDs from other hosts are counted.

use crate::model::{HelloFacts, HelloFlags, Mechanism, Offer, Token, Version};

/// Length of a random legacy session ID (RFC 8446, appendix D.4), and of Go's (`makeClientHello`,
/// crypto/tls/handshake_client.go).
const RANDOM_ID: u32 = 32;

/// What the ClientHello offered; `was_issued_here` decides whether a session ID was issued on this
/// host.
pub(super) fn from_hello(
    hello: &HelloFacts,
    was_issued_here: impl FnOnce(&Token) -> bool,
) -> Offer {
    if !hello.has(HelloFlags::OFFER_READ) {
        return Offer::Unknown;
    }
    let resembles_go = hello.has(HelloFlags::TICKETS.union(HelloFlags::TIMESTAMPS));
    let supports_tls13 = hello.offered_version == Some(Version::V13);
    let may_be_random = supports_tls13 || resembles_go;
    let is_offer = |id: &Token| {
        !may_be_random
            || hello.has(HelloFlags::ID_ECHOED)
            || id.length != RANDOM_ID
            || was_issued_here(id)
    };
    if hello.offers_resumption() {
        Offer::Session(Mechanism::Psk)
    } else if hello.ticket.is_some() {
        Offer::Session(Mechanism::Ticket)
    } else if !hello.is_tls13() && hello.session_id.as_ref().is_some_and(is_offer) {
        Offer::Session(Mechanism::SessionId)
    } else if hello.identity_count > 0 {
        Offer::ExternalPsk
    } else {
        Offer::Nothing
    }
}
