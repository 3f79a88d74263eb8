//! ABI of the `wire` sensor: the first flights of each TLS connection, from the packets of its
//! socket.
//!
//! Bytes leave the kernel only where a record header declares them as a plaintext handshake message
//! or alert. Of other records the header alone is emitted, until the first flight of both
//! directions has ended.

use crate::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`Segment`].
pub const SEGMENT: u32 = 32;

/// Maximum number of bytes that one [`Segment`] carries.
pub const LARGE: usize = 2048;
/// Capacity of the smaller of the two segment sizes in the ring buffer, bytes.
pub const SMALL: usize = 512;
/// Maximum number of bytes emitted per connection and direction; the rest of a flight is dropped.
pub const MAX_COPY: u32 = 32 * 1024;

/// A piece of a flight, a record header, or an end of the stream; [`Segment::length`] bytes follow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Segment {
    /// Kind and time of the packet.
    pub header: Header,
    /// The connection. Its cookie is 0 while the server's socket does not exist yet.
    pub socket: Socket,
    /// TCP sequence number of the first byte emitted, or of the record's header.
    pub seq: u32,
    /// Number of bytes that follow.
    pub length: u32,
    /// A constant of [`what`].
    pub what: u8,
    /// A constant of [`direction`].
    pub direction: u8,
    /// Length of the record's body where its header alone is emitted. Where bytes follow, the
    /// number of bytes of the record's body from the first of them on. 0 where the segment concerns
    /// no record.
    pub record: u16,
    /// Repeated data packets of this direction so far.
    pub repeats: u32,
    /// Smoothed round-trip time of the connection, microseconds; 0 where not measured.
    pub rtt_us: u32,
    /// Age of an accepted connection, milliseconds, in the segments of packets with FIN or RST. 0
    /// in others and where its beginning was not observed.
    pub age_ms: u32,
    /// ID of the cgroup, in the v2 hierarchy, of the process that created the socket, or the
    /// listening socket of an accepted connection; 0 where not known.
    pub cgroup: u64,
    /// Bytes of whole records, with their headers, between the last emitted record of this
    /// direction and this one: encrypted records that are not emitted.
    pub skipped: u32,
    /// Zero.
    pub reserved: u32,
}

/// Content of a [`Segment`].
pub mod what {
    /// Change of cipher specification (record type, RFC 8446, section 5.1).
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// Alert; plaintext where bytes follow.
    pub const ALERT: u8 = 21;
    /// Handshake; plaintext where bytes follow.
    pub const HANDSHAKE: u8 = 22;
    /// Application data, or any encrypted record of TLS 1.3.
    pub const APPLICATION_DATA: u8 = 23;
    /// FIN.
    pub const FIN: u8 = 0xf0;
    /// RST.
    pub const RESET: u8 = 0xf1;
    /// The stream was lost: too far out of order, or no TLS record where one should begin.
    pub const LOST: u8 = 0xf2;
    /// FIN of either side before the client sent any data, at a port that serves TLS.
    pub const SILENT_FIN: u8 = 0xf3;
    /// RST of either side before the client sent any data, at a port that serves TLS.
    pub const SILENT_RESET: u8 = 0xf4;
    /// Header of the PROXY protocol, as far as its addresses; the only bytes before a ClientHello
    /// that are emitted.
    pub const PROXY: u8 = 0xf5;
    /// A ClientHello follows that something preceded; its first byte.
    pub const LATE: u8 = 0xf6;
}

/// Direction of a packet.
pub mod direction {
    /// To this host.
    pub const IN: u8 = 0;
    /// From this host.
    pub const OUT: u8 = 1;
}

/// State of one direction of a connection, private to the kernel side.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flight {
    /// Sequence number of the next byte to process.
    pub next: u32,
    /// Remaining bytes of the current record.
    pub left: u32,
    /// Sequence number of the first byte that was emitted out of order.
    pub early_from: u32,
    /// Sequence number after the last such byte; equal where there are none.
    pub early_to: u32,
    /// Number of bytes emitted.
    pub copied: u32,
    /// Bits of [`flight`].
    pub flags: u32,
    /// Bytes of a record header that continues in the next packet; the last byte is the lowest.
    pub part: u64,
    /// Number of bytes in [`Flight::part`].
    pub have: u32,
    /// Repeated data packets.
    pub repeats: u32,
    /// Out-of-order packets that could not be processed.
    pub misplaced: u32,
    /// Number of record headers emitted without their bodies.
    pub headers: u32,
    /// Sequence number after the highest byte seen; valid with [`flight::HIGH`].
    pub high: u32,
    /// Number of TCP events emitted.
    pub tcp_events: u32,
    /// Time of the last data.
    pub last_ns: u64,
    /// Time of the last packet after a gap; 0 before that.
    pub gap_ns: u64,
    /// Sequence number of the body of the first encrypted record of TLS 1.3 that was emitted; valid
    /// with [`flight::OVER`].
    pub sealed: u32,
    /// [`Segment::skipped`] of the next record.
    pub skipped: u32,
    /// Acknowledgement number of the current packet.
    pub ack: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`Flight::flags`].
pub mod flight {
    /// [`super::Flight::next`] is valid.
    pub const BEGUN: u32 = 1;
    /// The bytes of the current record are emitted.
    pub const COPYING: u32 = 2;
    /// After change_cipher_spec.
    pub const CIPHERED: u32 = 4;
    /// This direction is not followed any further.
    pub const DONE: u32 = 8;
    /// FIN or RST was emitted.
    pub const CLOSED: u32 = 16;
    /// An alert was emitted, after which only alerts follow.
    pub const ALERT: u32 = 32;
    /// [`super::Flight::high`] is valid.
    pub const HIGH: u32 = 64;
    /// The end of the connection was emitted before the client had sent anything.
    pub const SILENT: u32 = 128;
    /// The first encrypted record after a hello was emitted: what follows cannot be lost without
    /// being retransmitted.
    pub const OVER: u32 = 256;
    /// The client sent more than its Finished in TLS 1.3: certificates, or early data behind the
    /// server's flight.
    pub const LONG: u32 = 512;
    /// The client's Finished of TLS 1.3 passed, and it had sent nothing else before.
    pub const FINISHED: u32 = 1024;
}

/// Added to [`State::linger`] once this host's last flight is acknowledged.
pub const ACKNOWLEDGED: u32 = 1 << 16;

/// State of a connection, stored with its socket; private to the kernel side.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct State {
    /// 1 once the connection needs no more observation.
    pub done: u32,
    /// 1 plus the direction of the ClientHello; 0 before the ClientHello.
    pub client: u32,
    /// Packets since both first flights were over; 0 before. This host's last flight can be
    /// retransmitted until it is acknowledged; then [`ACKNOWLEDGED`] is added.
    pub linger: u32,
    /// Sequence number after that flight.
    pub last: u32,
    /// As [`Socket::netns`].
    pub netns: u32,
    /// When the connection was accepted on a port that serves TLS, milliseconds since boot modulo
    /// 2^32; 0 where that was not observed.
    pub opened_ms: u32,
    /// Packets with data before the ClientHello.
    pub searched: u32,
    /// Sequence number after a header of the PROXY protocol, where the ClientHello may begin; 0
    /// without one.
    pub proxied: u32,
    /// Bytes of the newest packet before the ClientHello.
    pub skipped: u32,
    /// Zero.
    pub reserved: u32,
    /// Both directions, indexed by [`direction`].
    pub flights: [Flight; 2],
}

impl State {
    /// Whether the first flights of both directions are over.
    #[must_use]
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        let [to, from] = &self.flights;
        to.flags & from.flags & flight::OVER != 0
    }

    /// Whether no direction needs to be followed any further. Without branches, for the verifier.
    #[must_use]
    #[inline(always)]
    pub const fn is_settled(&self) -> bool {
        let [to, from] = &self.flights;
        let finished = (to.flags | from.flags) & flight::FINISHED;
        finished | (to.flags & from.flags & flight::DONE) != 0
    }
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
    /// As [`Socket::netns`].
    pub netns: u32,
}

const _: () = assert!(size_of::<Segment>() == 104);
const _: () = assert!(size_of::<Flight>() == 88);
const _: () = assert!(size_of::<State>() == 216);
const _: () = assert!(size_of::<Tuple>() == 40);
