//! Search for TLS that does not begin with the first byte of a connection: behind a header of the
//! PROXY protocol, or after STARTTLS. Of what precedes the ClientHello, only a header of the PROXY
//! protocol is copied, for the client's address. Bounded in packets and bytes, after which the
//! connection is no longer observed.

use crate::{
    emit::{Content, PacketContext, emit},
    flight::min,
    packet::{Packet, load},
};
use aya_ebpf::programs::SkBuffContext;
use core::ptr::read_volatile;
use reprise_ebpf::{
    kernel::Fault,
    wire::{Flight, State, direction, flight, what},
};

/// Packets with data before a ClientHello. SMTP needs six; a client may try other commands before.
const MAX_PACKETS: u32 = 32;
/// Longest packet before a ClientHello: longer ones are bulk data.
const MAX_LENGTH: u32 = 4_096;
/// Bytes of a ClientHello that [`is_hello`] reads.
const HELLO: u32 = 12;
/// Shortest ClientHello, bytes: one cipher suite and no extension (RFC 5246, section 7.4.1.2).
const MIN_HELLO: u64 = 41;
/// Longest ClientHello of several records.
const MAX_HELLO: u64 = 0xffff;
/// First bytes of the two versions of the PROXY protocol
/// (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
const PROXY_V1: u32 = u32::from_be_bytes(*b"PROX");
const PROXY_V2: u64 = u64::from_be_bytes(*b"\r\n\r\n\0\r\nQ");
/// Length of the fixed part of a version 2 header.
const PROXY_V2_FIXED: u32 = 16;
/// The same with the addresses of IPv6.
const PROXY_V2_ADDRESSES: u32 = 16 + 36;
/// Longest version 1 header, bytes.
const PROXY_V1_MAX: u32 = 107;
/// First bytes of MySQL's `SSLRequest`: 32 bytes follow, and this is the second packet. The client
/// sends its ClientHello right behind it.
const MYSQL_REQUEST: u32 = 0x2000_0001;
const MYSQL_LENGTH: u32 = 4 + 32;

/// Whether TLS begins in this packet, whose bytes before the ClientHello are skipped then; or may
/// begin, since nothing else has been sent and it begins as TLS does. Sets `state.done` at the end
/// of the search.
///
/// The state of the opposite direction is written, too: it is idle while the client sends its
/// ClientHello.
#[inline(never)]
pub(crate) fn may_begin(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &mut Packet,
    at: &PacketContext,
) -> Result<bool, Fault> {
    if packet.length() == 0 {
        return Ok(state.searched == 0);
    }
    let first: u8 = load(ctx, packet.at)?;
    let at_once = state.searched == 0 && first == what::HANDSHAKE;
    state.skipped = 0;
    if !at_once && !hello(ctx, state, packet, at)? {
        state.searched += 1;
        if state.searched > MAX_PACKETS || packet.length() > MAX_LENGTH {
            state.done = 1;
        }
        return Ok(false);
    }
    // SAFETY: a live value. Read back from the map, whose content the verifier does not track: it
    // would otherwise follow each length that a header can have through all that comes after.
    let skipped = unsafe { read_volatile(&raw const state.skipped) };
    packet.at += skipped;
    packet.seq = packet.seq.wrapping_add(skipped);
    if at_once {
        return Ok(true);
    }
    let [to, from] = &mut state.flights;
    let (mine, theirs) = if at.way == direction::IN {
        (to, from)
    } else {
        (from, to)
    };
    begin(mine, packet.seq);
    begin(theirs, packet.ack);
    crate::record(
        ctx,
        emit(ctx, at, 0, &Content::first(what::LATE, packet, 1)),
    );
    Ok(true)
}

/// Begins a flight: what this side sent before is no part of the handshake.
#[inline(always)]
fn begin(flight: &mut Flight, seq: u32) {
    flight.next = seq;
    flight.high = seq;
    flight.flags = flight::BEGUN | flight::HIGH;
}

/// Whether the packet brings a ClientHello, at its beginning or behind a header: then the number of
/// bytes before it is in `state.skipped`.
#[inline(always)]
fn hello(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    at: &PacketContext,
) -> Result<bool, Fault> {
    let length = packet.length();
    if length < HELLO {
        return Ok(false);
    }
    if is_hello(ctx, packet.at)? {
        return Ok(true);
    }
    let header = header(ctx, state, packet, at)?;
    let fits = header < length && length - header >= HELLO;
    if fits && is_hello(ctx, packet.at + header)? {
        state.skipped = header;
        return Ok(true);
    }
    Ok(false)
}

/// Returns the length of the header that this packet begins with or continues; without one, 0 or
/// any number.
#[inline(always)]
fn header(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    at: &PacketContext,
) -> Result<u32, Fault> {
    let start = u64::from_be(load(ctx, packet.at)?);
    let word = (start >> 32) as u32;
    let length = packet.length();
    if word == MYSQL_REQUEST {
        return Ok(MYSQL_LENGTH);
    }
    if state.searched == 0 && start == PROXY_V2 && length >= PROXY_V2_FIXED {
        let rest: u16 = load(ctx, packet.at + PROXY_V2_FIXED - 2)?;
        let header = PROXY_V2_FIXED + u32::from(u16::from_be(rest));
        state.proxied = packet.seq.wrapping_add(header);
        let known = min(min(header, length), PROXY_V2_ADDRESSES);
        emit(ctx, at, 0, &Content::first(what::PROXY, packet, known))?;
        return Ok(header);
    }
    let continues = state.proxied == packet.seq;
    if continues || (state.searched == 0 && word == PROXY_V1) {
        let header = line(ctx, packet)?;
        if header != 0 && !continues {
            emit(ctx, at, 0, &Content::first(what::PROXY, packet, header))?;
        }
        // Where the line does not end, the rest of it follows.
        let known = if header == 0 { length } else { header };
        state.proxied = packet.seq.wrapping_add(known);
        return Ok(header);
    }
    Ok(state.proxied.wrapping_sub(packet.seq))
}

/// Returns the length of the line that the packet begins with; 0 where it does not end.
#[inline(always)]
fn line(ctx: &SkBuffContext, packet: &Packet) -> Result<u32, Fault> {
    for at in 0..PROXY_V1_MAX - 1 {
        if at + 2 > packet.length() {
            break;
        }
        let end: u16 = load(ctx, packet.at + at)?;
        if u16::from_be(end) == u16::from_be_bytes(*b"\r\n") {
            return Ok(at + 2);
        }
    }
    Ok(0)
}

/// Whether a ClientHello begins at this offset: a record header, a handshake header whose length
/// agrees with it, and a version. Its record can be the first one of several.
#[inline(always)]
fn is_hello(ctx: &SkBuffContext, offset: u32) -> Result<bool, Fault> {
    let high = u64::from_be(load(ctx, offset)?);
    let low: u32 = u32::from_be(load(ctx, offset + 8)?);
    let record = (high >> 24) & 0xffff;
    let hello = (high & 0xffff) << 8 | u64::from(low >> 24);
    // Type and major version of the record, type of the message, major version.
    let fixed = high >> 48 == 0x1603 && (high >> 16) & 0xff == 1 && (low >> 16) & 0xff == 3;
    let minor = (high >> 40) & 0xff <= 4 && (low >> 8) & 0xff <= 4;
    let length = (MIN_HELLO..=MAX_HELLO).contains(&hello) && record <= hello + 4;
    Ok(fixed && minor && length && record >= 4)
}
