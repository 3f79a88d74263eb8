//! ABI of the `hello` sensor: the first flight of each TLS connection, cut out of the packets of its socket.
//!
//! Bytes leave the kernel only where a record header names them as handshake or alert in clear. Of every other record the
//! header alone is told, and that only until both directions are past their first flight.

use crate::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`Segment`].
pub const SEGMENT: u32 = 32;

/// Most bytes that one [`Segment`] carries; more are told by several.
pub const LARGE: usize = 2048;
/// Bytes of the smaller of the two sizes that segments have in the ring.
pub const SMALL: usize = 512;
/// Bytes told per connection and direction; what a flight has beyond is not told.
pub const MAX_COPY: u32 = 32 * 1024;

/// A piece of a flight, or what happened instead; [`Segment::length`] bytes follow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Segment {
    /// When the packet passed the socket.
    pub header: Header,
    /// The connection. Its cookie is 0 while the server's socket does not exist yet.
    pub socket: Socket,
    /// Place in the stream: TCP sequence number of the first byte told, or of the record's header.
    pub seq: u32,
    /// Bytes that follow.
    pub length: u32,
    /// A constant of [`what`].
    pub what: u8,
    /// A constant of [`direction`].
    pub direction: u8,
    /// Of a record whose header alone is told, the length of its body. Of bytes, how many of the record's body were still to
    /// come where they begin: behind so many begins the next header. 0 where no record is meant.
    pub record: u16,
    /// Data packets of this direction that repeated what had been seen, so far.
    pub repeats: u32,
    /// Smoothed round-trip time of the connection, microseconds; 0 where TCP has not measured it.
    pub rtt_us: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a [`Segment`] tells of.
pub mod what {
    /// Change of cipher specification (record type, RFC 8446, section 5.1).
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// Alert; in clear when bytes follow.
    pub const ALERT: u8 = 21;
    /// Handshake; in clear when bytes follow.
    pub const HANDSHAKE: u8 = 22;
    /// Application data, or anything else that TLS 1.3 encrypts.
    pub const APPLICATION_DATA: u8 = 23;
    /// FIN.
    pub const FIN: u8 = 0xf0;
    /// RST.
    pub const RESET: u8 = 0xf1;
    /// The stream was lost: out of order beyond what is followed, or no TLS record where one should begin.
    pub const LOST: u8 = 0xf2;
}

/// Which way a packet went.
pub mod direction {
    /// To this host.
    pub const IN: u8 = 0;
    /// From this host.
    pub const OUT: u8 = 1;
}

/// One direction of a connection, as the kernel side keeps it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flight {
    /// Sequence number of the next byte to look at.
    pub next: u32,
    /// Bytes of the current record that are still to come.
    pub left: u32,
    /// Bytes from here … that came early and were told.
    pub early_from: u32,
    /// … to here; equal where there are none.
    pub early_to: u32,
    /// Bytes told.
    pub copied: u32,
    /// Bits of [`flight`].
    pub flags: u32,
    /// Bytes of a record header that was cut by the end of a packet, last one lowest.
    pub part: u64,
    /// How many bytes of [`Flight::part`] there are.
    pub have: u32,
    /// Data packets that repeated what had been seen.
    pub repeats: u32,
    /// Packets that could not be placed.
    pub misplaced: u32,
    /// Records of which the header alone was told.
    pub told: u32,
    /// End of the highest data that passed; valid with [`flight::HIGH`].
    pub high: u32,
    /// Things told of it beside its bytes: what came again, late or out of turn.
    pub marks: u32,
    /// When data last passed.
    pub last_ns: u64,
    /// When something last passed from beyond a gap; 0 before that.
    pub gap_ns: u64,
}

/// Bits of [`Flight::flags`].
pub mod flight {
    /// [`super::Flight::next`] is valid.
    pub const BEGUN: u32 = 1;
    /// The current record is told.
    pub const COPYING: u32 = 2;
    /// Behind the change of cipher specification.
    pub const CIPHERED: u32 = 4;
    /// The first flight is over.
    pub const DONE: u32 = 8;
    /// Its end (FIN or RST) was told.
    pub const CLOSED: u32 = 16;
    /// An alert was told, behind which nothing follows but other alerts.
    pub const ALERT: u32 = 32;
    /// [`super::Flight::high`] is valid.
    pub const HIGH: u32 = 64;
}

/// A connection, as the kernel side keeps it with its socket.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct State {
    /// 1 once there is nothing more to see.
    pub done: u32,
    /// 1 plus the direction of the ClientHello; 0 before it was seen.
    pub client: u32,
    /// Packets since both sides have finished; 0 before. Until this host's last flight is acknowledged it may be sent again.
    pub linger: u32,
    /// End of that flight.
    pub last: u32,
    /// By [`direction`].
    pub flights: [Flight; 2],
}

/// Addresses and ports of a connection whose socket does not exist yet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tuple {
    /// As [`Socket::local`].
    pub local: [u64; 2],
    /// As [`Socket::remote`].
    pub remote: [u64; 2],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Segment>() == 88);
const _: () = assert!(size_of::<Flight>() == 72);
const _: () = assert!(size_of::<State>() == 160);
const _: () = assert!(size_of::<Tuple>() == 40);
