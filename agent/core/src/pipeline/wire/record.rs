//! The record of one TLS connection's first flights. Plain data like the kernel's records, but
//! written here, since no session ID and no ticket may reach a file: it holds only short hashes of
//! them.

use reprise_ebpf::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::model::MAX_IDENTITIES;

/// `Header::kind` of [`WireRecord`]; the kernel never sends it.
pub const WIRE: u32 = 254;

/// [`WireRecord::version`] of TLS 1.3.
pub(super) const TLS13: u16 = 0x0304;

/// PSK identities retained per ClientHello.
pub const IDENTITIES: usize = MAX_IDENTITIES;

/// A session ID, ticket or PSK identity that was offered or issued.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TokenRecord {
    /// First eight bytes of its SHA-256.
    pub hash: u64,
    /// First four bytes of the SHA-256 of its first sixteen bytes, the name of the key that a
    /// ticket is encrypted with; 0 where its length is not that of a ticket.
    pub key: u32,
    /// Its length, bytes; 0 if it is absent.
    pub length: u32,
}

/// The first flights of one TLS connection.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WireRecord {
    /// `time_ns` is the end of the handshake on the wire.
    pub header: Header,
    /// The connection.
    pub socket: Socket,
    /// When the ClientHello passed, nanoseconds of `CLOCK_MONOTONIC`. Without
    /// [`flag::OFFER_READ`]: when the connection was opened, where that was observed.
    pub begin_ns: u64,
    /// When the ServerHello passed, nanoseconds; 0 where none was read.
    pub answer_ns: u64,
    /// `random` of the ClientHello; the second one repeats it (RFC 8446, section 4.1.2).
    pub client_random: [u8; 32],
    /// Session ID offered.
    pub session_id: TokenRecord,
    /// Session ticket offered (RFC 5077).
    pub ticket: TokenRecord,
    /// PSK identities offered (RFC 8446, section 4.2.11).
    pub identities: [TokenRecord; IDENTITIES],
    /// Session ID of the ServerHello.
    pub given_id: TokenRecord,
    /// Ticket of the NewSessionTicket of TLS 1.2 and below; that of TLS 1.3 is encrypted.
    pub given_ticket: TokenRecord,
    /// First eight bytes of the SHA-256 of the requested server name (SNI); 0 without one.
    pub server_name: u64,
    /// Lifetime hint of [`Self::given_ticket`], seconds.
    pub lifetime: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Packets with data that had passed before, by direction: received, sent.
    pub repeats: [u32; 2],
    /// Version agreed on; 0 where no ServerHello was read.
    pub version: u16,
    /// Highest version offered.
    pub offered_version: u16,
    /// PSK identities offered, including those that are not retained.
    pub identity_count: u16,
    /// Index of the PSK that the server selected; valid with [`flag::PSK_ACCEPTED`].
    pub accepted: u16,
    /// A constant of [`end`].
    pub end: u8,
    /// A constant of `reprise_ebpf::handshake::role`.
    pub role: u8,
    /// Description of the alert (RFC 8446, section 6) that ended it in clear; 0 without one.
    pub alert: u8,
    /// What became of early data: a constant of [`early`].
    pub early_data: u8,
    /// Cipher suite that the server selected; 0 where no ServerHello was read.
    pub cipher: u16,
    /// Which of [`Self::identities`] are external PSKs: bits by index.
    pub external: u8,
    /// Zero.
    pub reserved: u8,
    /// Smoothed round-trip time of the connection, microseconds; 0 where TCP has not measured it.
    pub rtt_us: u32,
    /// Silence on the connection before the end, milliseconds.
    pub silence_ms: u32,
    /// ID of the cgroup of the process that created the socket, as in the segments; 0 where not
    /// known.
    pub cgroup: u64,
    /// Address of the client in the header of the PROXY protocol that preceded the ClientHello; 0
    /// without one.
    pub proxied: [u64; 2],
    /// Its port.
    pub proxied_port: u16,
    /// Zero.
    pub reserved_end: [u8; 6],
}

/// Bits of [`WireRecord::flags`].
pub mod flag {
    /// The ClientHello was read: what it offers is known.
    pub const OFFER_READ: u32 = 1;
    /// The ServerHello was read.
    pub const ANSWER_READ: u32 = 2;
    /// The server sent a HelloRetryRequest.
    pub const RETRY: u32 = 4;
    /// The server selected a PSK.
    pub const PSK_ACCEPTED: u32 = 8;
    /// The server echoed the offered session ID.
    pub const ID_ECHOED: u32 = 16;
    /// A message that only full handshakes have was seen (Certificate, ServerKeyExchange,
    /// ServerHelloDone).
    pub const FULL: u32 = 32;
    /// The server sent ChangeCipherSpec.
    pub const SERVER_CIPHERED: u32 = 64;
    /// The client announced early data.
    pub const EARLY_DATA: u32 = 128;
    /// The ClientHello had the session ticket extension, with or without a ticket.
    pub const TICKETS: u32 = 256;
    /// PSK key exchange mode `psk_ke` was offered.
    pub const PSK_KE: u32 = 512;
    /// PSK key exchange mode `psk_dhe_ke` was offered.
    pub const PSK_DHE_KE: u32 = 1024;
    /// Extended master secret was offered (RFC 7627).
    pub const EXTENDED_MASTER_SECRET: u32 = 2048;
    /// The ClientHello asked for certificate timestamps (RFC 6962, section 3.3.1).
    pub const TIMESTAMPS: u32 = 4096;
    /// Something else preceded TLS on the connection.
    pub const LATE: u32 = 8192;
}

/// What became of early data.
pub mod early {
    /// None was offered, or it is not known.
    pub const UNKNOWN: u8 = 0;
    /// The server accepted it.
    pub const ACCEPTED: u8 = 1;
    /// The server rejected it.
    pub const REJECTED: u8 = 2;
}

/// How the first flights ended.
pub mod end {
    /// Both sides finished.
    pub const COMPLETED: u8 = 1;
    /// A fatal alert arrived.
    pub const ALERT_IN: u8 = 2;
    /// This host sent a fatal alert.
    pub const ALERT_OUT: u8 = 3;
    /// The peer closed.
    pub const CLOSED_IN: u8 = 4;
    /// This host closed.
    pub const CLOSED_OUT: u8 = 5;
    /// A reset passed, in either direction.
    pub const RESET: u8 = 6;
    /// Not followed to its end: stream lost, timed out, or evicted.
    pub const UNKNOWN: u8 = 7;
}

impl WireRecord {
    /// An empty record.
    pub(super) const BLANK: Self = Self {
        header: Header {
            kind: WIRE,
            size: size_of::<Self>() as u32,
            time_ns: 0,
        },
        socket: Socket {
            local: [0; 2],
            remote: [0; 2],
            local_port: 0,
            remote_port: 0,
            netns: 0,
            cookie: 0,
        },
        begin_ns: 0,
        answer_ns: 0,
        client_random: [0; 32],
        session_id: TokenRecord::NONE,
        ticket: TokenRecord::NONE,
        identities: [TokenRecord::NONE; IDENTITIES],
        given_id: TokenRecord::NONE,
        given_ticket: TokenRecord::NONE,
        server_name: 0,
        lifetime: 0,
        flags: 0,
        repeats: [0; 2],
        version: 0,
        offered_version: 0,
        identity_count: 0,
        accepted: 0,
        end: 0,
        role: 0,
        alert: 0,
        early_data: 0,
        cipher: 0,
        external: 0,
        reserved: 0,
        rtt_us: 0,
        silence_ms: 0,
        cgroup: 0,
        proxied: [0; 2],
        proxied_port: 0,
        reserved_end: [0; 6],
    };

    /// Whether all of these bits of [`flag`] are set.
    #[must_use]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Whether the handshake resumed a session; see [`crate::model::HelloFacts::resumed`].
    #[cfg(test)]
    #[must_use]
    pub const fn resumed(&self) -> Option<bool> {
        if !self.has(flag::ANSWER_READ) {
            None
        } else if self.version >= TLS13 {
            Some(self.has(flag::PSK_ACCEPTED))
        } else if self.has(flag::FULL) {
            Some(false)
        } else if self.has(flag::SERVER_CIPHERED) {
            Some(true)
        } else {
            None
        }
    }
}

impl TokenRecord {
    /// An absent token.
    pub const NONE: Self = Self {
        hash: 0,
        key: 0,
        length: 0,
    };
}

const _: () = assert!(size_of::<WireRecord>() == 320);
