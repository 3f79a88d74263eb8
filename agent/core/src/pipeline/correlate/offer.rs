//! What a ClientHello offered to resume, as docs/contract.md counts it.
//!
//! | in the ClientHello | offered |
//! |---|---|
//! | a PSK identity | `psk` |
//! | a session ticket with content | `ticket`; the session ID beside it only tells the client whether the ticket was taken (RFC 5077, section 3.4) |
//! | a session ID, TLS 1.3 agreed on | nothing: the field is a legacy, filled at random (RFC 8446, section 4.1.2) |
//! | a session ID, from a client that does not know TLS 1.3 and is not like Go's | `session_id` |
//! | a session ID, from any other client, with an older version agreed on | see below |
//!
//! The last kind is filled at random, too, unless the client has a session of an older version: Go's client does so in TLS 1.2 even where
//! it has none. The two look alike. Taken as an offer is one that the server took, one that was given on this host, and one whose length
//! is not that of the random ones. So an ID from elsewhere that nobody takes is not seen as an offer: an error to the safe side. Go's
//! client always knows tickets and asks for certificate timestamps (`makeClientHello`, crypto/tls/handshake_client.go); OpenSSL's,
//! GnuTLS' and mbed TLS' ask for them only where a program told them to, and what they offer from another host is seen.

use crate::pipeline::wire::{HelloEvent, Token, flag};

/// TLS 1.3 on the wire.
const TLS13: u16 = 0x0304;
/// Length of a random legacy session ID (RFC 8446, appendix D.4), and of Go's (`makeClientHello`, crypto/tls/handshake_client.go).
const RANDOM_ID: u32 = 32;

/// How a session is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// By its ID, TLS 1.2 and below.
    SessionId,
    /// By ticket, TLS 1.2 and below.
    Ticket,
    /// By PSK identity, TLS 1.3.
    Psk,
}

impl Mechanism {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 3] = [Self::SessionId, Self::Ticket, Self::Psk];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SessionId => "session_id",
            Self::Ticket => "ticket",
            Self::Psk => "psk",
        }
    }
}

/// What is known of an offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offer {
    /// The ClientHello was not read.
    #[default]
    Unknown,
    /// It offered nothing.
    Nothing,
    /// It offered a session.
    Session(Mechanism),
}

impl Offer {
    /// What the ClientHello offered; `gave` says of a session ID whether it was given on this host.
    pub(super) fn of(hello: &HelloEvent, gave: impl FnOnce(&Token) -> bool) -> Self {
        if !hello.has(flag::OFFER_READ) {
            return Self::Unknown;
        }
        let id = hello.session_id;
        let like_go = hello.has(flag::TICKETS | flag::TIMESTAMPS);
        let may_be_random = hello.offered_version >= TLS13 || like_go;
        if hello.identity_count > 0 {
            Self::Session(Mechanism::Psk)
        } else if hello.ticket.length > 0 {
            Self::Session(Mechanism::Ticket)
        } else if id.length > 0
            && hello.version < TLS13
            && (!may_be_random || hello.has(flag::ID_ECHOED) || id.length != RANDOM_ID || gave(&id))
        {
            Self::Session(Mechanism::SessionId)
        } else {
            Self::Nothing
        }
    }
}
