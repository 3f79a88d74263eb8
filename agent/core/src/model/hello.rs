//! What both sides said in clear on the wire.

use std::net::SocketAddr;

use bitflags::bitflags;

use super::{EarlyDataOutcome, Mechanism, Token, Version};

/// PSK identities retained per ClientHello; clients offer one or two.
pub const MAX_IDENTITIES: usize = 4;

/// `random` of a ClientHello.
pub type ClientRandom = [u8; 32];

bitflags! {
    /// Yes-or-no facts of a handshake's messages. The bits are those of a recorded handshake.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct HelloFlags: u32 {
        /// The ClientHello was read: what it offers is known.
        const OFFER_READ = 1;
        /// The ServerHello was read.
        const ANSWER_READ = 2;
        /// The server sent a HelloRetryRequest.
        const RETRY = 4;
        /// The server selected a PSK.
        const PSK_ACCEPTED = 8;
        /// The server echoed the offered session ID.
        const ID_ECHOED = 16;
        /// A message that only full handshakes have was seen (Certificate, ServerKeyExchange,
        /// ServerHelloDone).
        const FULL = 32;
        /// The server sent ChangeCipherSpec.
        const SERVER_CIPHERED = 64;
        /// The client announced early data.
        const EARLY_DATA = 128;
        /// The ClientHello had the session ticket extension, with or without a ticket.
        const TICKETS = 256;
        /// PSK key exchange mode `psk_ke` was offered.
        const PSK_KE = 512;
        /// PSK key exchange mode `psk_dhe_ke` was offered.
        const PSK_DHE_KE = 1024;
        /// Extended master secret was offered (RFC 7627).
        const EXTENDED_MASTER_SECRET = 2048;
        /// The ClientHello asked for certificate timestamps (RFC 6962, section 3.3.1).
        const TIMESTAMPS = 4096;
        /// Something else preceded TLS on the connection.
        const LATE = 8192;
    }
}

/// Facts of the hello messages, read from the packets of one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HelloFacts {
    /// When the ClientHello passed, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// When the ServerHello passed, nanoseconds; `None` where none was read.
    pub answer_ns: Option<u64>,
    /// When the handshake ended on the wire, nanoseconds.
    pub end_ns: u64,
    /// `random` of the ClientHello; a second ClientHello repeats it (RFC 8446, section 4.1.2).
    pub client_random: ClientRandom,
    /// Yes-or-no facts.
    pub flags: HelloFlags,
    /// Version agreed on; `None` where no ServerHello was read.
    pub version: Option<Version>,
    /// Highest version offered; `None` where no ClientHello was read.
    pub offered_version: Option<Version>,
    /// Session ID offered.
    pub session_id: Option<Token>,
    /// Session ticket offered (RFC 5077).
    pub ticket: Option<Token>,
    /// First PSK identities offered (RFC 8446, section 4.2.11).
    pub identities: [Option<Token>; MAX_IDENTITIES],
    /// PSK identities offered, including those that are not retained.
    pub identity_count: u16,
    /// Which of the retained identities are external PSKs, which no server issued: bits by index.
    pub external_identities: u8,
    /// Index of the PSK that the server selected.
    pub accepted_identity: Option<u16>,
    /// Session ID of the ServerHello.
    pub issued_id: Option<Token>,
    /// Ticket of the NewSessionTicket of TLS 1.2 and below; that of TLS 1.3 is encrypted.
    pub issued_ticket: Option<Token>,
    /// Lifetime hint of that ticket, seconds; `None` where there is none.
    pub lifetime_hint_s: Option<u32>,
    /// First eight bytes of the SHA-256 of the requested server name (SNI).
    pub server_name: Option<u64>,
    /// What became of early data; `None` where none was offered, or where it is not known.
    pub early_data: Option<EarlyDataOutcome>,
    /// The client's address in a header of the PROXY protocol before the ClientHello.
    pub proxied: Option<SocketAddr>,
}

impl HelloFacts {
    /// Whether all of these flags are set.
    #[must_use]
    pub const fn has(&self, flags: HelloFlags) -> bool {
        self.flags.contains(flags)
    }

    /// Whether the two sides agreed on TLS 1.3.
    #[must_use]
    pub const fn is_tls13(&self) -> bool {
        matches!(self.version, Some(Version::V13))
    }

    /// What the ClientHello offered by this mechanism; the first of several PSKs that is not
    /// external.
    #[must_use]
    pub const fn offered(&self, mechanism: Mechanism) -> Option<Token> {
        match mechanism {
            Mechanism::SessionId => self.session_id,
            Mechanism::Ticket => self.ticket,
            Mechanism::Psk => {
                let first = self.external_identities.trailing_ones() as usize;
                if first < MAX_IDENTITIES {
                    self.identities[first]
                } else {
                    None
                }
            }
        }
    }

    /// Whether the ClientHello offered a PSK that a server issued.
    #[must_use]
    pub const fn offers_resumption(&self) -> bool {
        self.identity_count as u32 > self.external_identities.count_ones()
    }

    /// Whether the server selected an external PSK.
    #[must_use]
    pub const fn accepted_external(&self) -> bool {
        match self.accepted_identity {
            Some(index) if (index as usize) < MAX_IDENTITIES => {
                self.external_identities >> index & 1 != 0
            }
            _ => false,
        }
    }

    /// Of the sessions offered by this mechanism, the one that the server accepted, given that it
    /// accepted one; the first PSK if its answer was not read.
    #[must_use]
    pub fn accepted(&self, mechanism: Mechanism) -> Option<Token> {
        match mechanism {
            Mechanism::Psk => {
                let index = usize::from(self.accepted_identity.unwrap_or(0));
                *self.identities.get(index)?
            }
            _ => self.offered(mechanism),
        }
    }

    /// Whether the handshake resumed a session by the protocol's rules; `None` before the server's
    /// messages decide it. TLS 1.3: the server selected a PSK. Below: the server sent
    /// ChangeCipherSpec without any message of a full handshake (RFC 5246, section 7.3).
    #[must_use]
    pub const fn resumed(&self) -> Option<bool> {
        if !self.has(HelloFlags::ANSWER_READ) {
            None
        } else if self.is_tls13() {
            Some(self.has(HelloFlags::PSK_ACCEPTED))
        } else if self.has(HelloFlags::FULL) {
            Some(false)
        } else if self.has(HelloFlags::SERVER_CIPHERED) {
            Some(true)
        } else {
            None
        }
    }
}
