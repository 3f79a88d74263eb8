//! Follows one direction of a connection, record by record, and emits its first flight.

use crate::{
    emit::{Content, PacketContext, emit},
    evidence::{self, serves_tls},
    packet::{Packet, load},
};
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::{
    kernel::Fault,
    wire::{Flight, LARGE, MAX_COPY, State, flight, what},
};

/// Headers emitted per direction, and packets out of order, after which the stream is abandoned.
const MAX_HEADERS: u32 = 16;
/// Length of a record header.
const HEADER: u32 = 5;
/// Longest record body: 2^14 bytes plus the expansion by encryption (RFC 5246, section 6.2.3).
const MAX_RECORD: u32 = 16_384 + 2_048;
/// Longest encrypted record that can be an alert or EndOfEarlyData: four bytes, their type and a
/// tag of 16 bytes, rounded up.
const LONGEST_ALERT: u32 = 24;
/// `handshake_type` of ClientHello and ServerHello (RFC 8446, section 4).
const CLIENT_HELLO: u32 = 1;
const SERVER_HELLO: u32 = 2;

/// Processes a packet: at most `STEPS` records and pieces of records. Sets `state.done` where this
/// is not TLS or was reset.
#[inline(never)]
pub(crate) fn process<const STEPS: u32>(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    at: &PacketContext,
) -> Result<(), Fault> {
    let way = u32::from(at.way & 1);
    // Not by index: the verifier would need a bound for it.
    let [to, from] = &mut state.flights;
    let (mine, theirs) = if way == 0 { (to, from) } else { (from, to) };
    let mut result = Ok(());
    if packet.at < packet.end && mine.flags & flight::DONE == 0 {
        let mut cursor = Cursor {
            client: &mut state.client,
            me: way + 1,
            mine,
            theirs,
        };
        cursor.mine.ack = packet.ack;
        match cursor.steps::<STEPS>(ctx, packet, at) {
            Ok(Stream::Tls) => {}
            Ok(Stream::NotTls) => state.done = 1,
            Err(fault) => result = Err(fault),
        }
    }
    // A FIN that arrives before the data that precedes it does not end the stream yet.
    let last = packet.seq.wrapping_add(packet.end.wrapping_sub(packet.at)) == mine.next;
    let closes =
        packet.fin() && (last || mine.flags & flight::BEGUN == 0 || mine.flags & flight::OVER != 0);
    let ends = (closes || packet.rst()) && mine.flags & flight::CLOSED == 0;
    let repeats = mine.repeats;
    if state.client != 0 && ends && !state.is_settled() {
        let [to, from] = &mut state.flights;
        let mine = if way == 0 { to } else { from };
        mine.flags |= flight::CLOSED;
        let what = if packet.rst() { what::RESET } else { what::FIN };
        let end = Content::end(what, packet.seq, evidence::age_ms(state.opened_ms));
        result = result.and(emit(ctx, at, repeats, &end));
        if packet.rst() {
            state.done = 1;
        }
    }
    result
}

/// Emits the end of a connection on which the client has sent nothing, at a port that serves TLS.
#[inline(never)]
pub(crate) fn process_silent_end(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    at: &PacketContext,
) -> Result<(), Fault> {
    let [to, _] = &mut state.flights;
    if to.flags & flight::SILENT != 0 || !serves_tls(&at.socket) {
        return Ok(());
    }
    to.flags |= flight::SILENT;
    let what = what::SILENT_FIN + u8::from(packet.rst());
    let end = Content::end(what, packet.seq, evidence::age_ms(state.opened_ms));
    emit(ctx, at, 0, &end)
}

/// State of one run. Everything that changes from step to step is in map memory and not in
/// variables: all paths through a step then look the same to the verifier, which would otherwise
/// process their combinations.
struct Cursor<'a> {
    /// [`State::client`].
    client: &'a mut u32,
    /// Value of `client` where this direction is the client's.
    me: u32,
    mine: &'a mut Flight,
    /// The opposite direction.
    theirs: &'a Flight,
}

/// Result of processing the bytes of a packet.
enum Stream {
    Tls,
    NotTls,
}

/// Action after a record header or a part of one.
enum Next {
    /// Nothing to emit: the header is incomplete, or the whole record will be emitted.
    Silent,
    /// Emit the header.
    Header,
    /// Emit that the stream is lost.
    Lost,
    /// The stream is not TLS.
    NotTls,
}

impl Cursor<'_> {
    /// Processes the packet's bytes, record by record.
    #[inline(always)]
    fn steps<const STEPS: u32>(
        &mut self,
        ctx: &SkBuffContext,
        packet: &Packet,
        at: &PacketContext,
    ) -> Result<Stream, Fault> {
        let flight = &mut *self.mine;
        if flight.flags & flight::BEGUN == 0 {
            flight.next = packet.seq;
            flight.flags |= flight::BEGUN;
        }
        if flight.next != packet.seq {
            let ahead = packet.seq.wrapping_sub(flight.next) as i32;
            if ahead > 0 {
                return out_of_order(ctx, flight, packet, at, ahead as u32);
            }
            flight.repeats += 1;
        }
        for _ in 0..STEPS {
            let flight = &mut *self.mine;
            let offset = packet.at.wrapping_add(flight.next.wrapping_sub(packet.seq));
            if offset >= packet.end || flight.flags & flight::DONE != 0 {
                break;
            }
            let available = packet.end - offset;
            let content = if flight.left == 0 {
                match self.header(ctx, offset, available, packet.end)? {
                    Next::Silent => continue,
                    Next::Header => self.last_header(),
                    Next::Lost => {
                        self.mine.flags |= flight::OVER | flight::DONE;
                        Content::header(what::LOST, self.mine.next, 0, self.mine.skipped)
                    }
                    Next::NotTls => return Ok(Stream::NotTls),
                }
            } else {
                let copying = flight.flags & flight::COPYING != 0;
                let mut length = min(flight.left, available);
                if copying {
                    length = min(length, LARGE as u32);
                }
                let (seq, left) = (flight.next, flight.left);
                flight.next = seq.wrapping_add(length);
                flight.left = left - length;
                let wanted = copying && flight.copied < MAX_COPY;
                skip_early(flight);
                if !wanted {
                    continue;
                }
                flight.copied += length;
                Content::bytes(flight, seq, left, offset, length)
            };
            self.mine.skipped = 0;
            emit(ctx, at, self.mine.repeats, &content)?;
        }
        Ok(Stream::Tls)
    }

    /// Processes a record header, or the part of one that the packet has.
    #[inline(always)]
    fn header(
        &mut self,
        ctx: &SkBuffContext,
        offset: u32,
        available: u32,
        end: u32,
    ) -> Result<Next, Fault> {
        let flight = &mut *self.mine;
        let first = *self.client == 0;
        let consumed = if flight.have == 0 && available >= HEADER {
            let high: u32 = load(ctx, offset)?;
            let low: u8 = load(ctx, offset + 4)?;
            flight.part = u64::from(u32::from_be(high)) << 8 | u64::from(low);
            HEADER
        } else {
            let byte: u8 = load(ctx, offset)?;
            flight.part = flight.part << 8 | u64::from(byte);
            if first && flight.have == 0 && byte != what::HANDSHAKE {
                return Ok(Next::NotTls);
            }
            1
        };
        flight.have += consumed;
        flight.next = flight.next.wrapping_add(consumed);
        if flight.have < HEADER {
            return Ok(Next::Silent);
        }
        let kind = (flight.part >> 32) as u8;
        let major = (flight.part >> 24) as u8;
        let length = (flight.part & 0xffff) as u32;
        flight.have = 0;
        let known = (what::CHANGE_CIPHER_SPEC..=what::APPLICATION_DATA).contains(&kind);
        let record = known && major == 3 && length != 0 && length <= MAX_RECORD;
        // The first bytes of the body, where the packet has them.
        let body = offset + consumed;
        let start: u32 = if body + 4 <= end {
            u32::from_be(load(ctx, body)?)
        } else {
            0
        };
        if first {
            if !record || kind != what::HANDSHAKE || (start != 0 && start >> 24 != CLIENT_HELLO) {
                return Ok(Next::NotTls);
            }
            *self.client = self.me;
        }
        if !record {
            return Ok(Next::Lost);
        }
        flight.left = length;
        let ciphered = flight.flags & flight::CIPHERED != 0;
        let clear = match kind {
            what::HANDSHAKE => !ciphered || second_hello(start, length),
            what::ALERT => !ciphered && length == 2,
            _ => false,
        };
        if clear {
            flight.flags |= flight::COPYING;
            if kind == what::ALERT {
                flight.flags |= flight::ALERT;
            }
            return Ok(Next::Silent);
        }
        flight.flags &= !flight::COPYING;
        let news = match kind {
            what::CHANGE_CIPHER_SPEC => flight::CIPHERED,
            what::APPLICATION_DATA => self.sealed(length),
            _ => flight::OVER | flight::DONE,
        };
        let flight = &mut *self.mine;
        if news == 0 {
            flight.skipped = flight.skipped.wrapping_add(HEADER + length);
            return Ok(Next::Silent);
        }
        flight.flags |= news;
        flight.headers += 1;
        if flight.headers >= MAX_HEADERS {
            flight.flags |= flight::OVER | flight::DONE;
        }
        Ok(Next::Header)
    }

    /// Whether the sender of this packet had received the other side's first encrypted record. Read
    /// from the map in each step: the compiler would otherwise decide before the loop, and the
    /// verifier would process the loop once for each result.
    #[inline(always)]
    fn answers(&self) -> bool {
        // SAFETY: live fields; volatile for the reason above.
        let (flags, sealed, ack) = unsafe {
            (
                core::ptr::read_volatile(&raw const self.theirs.flags),
                core::ptr::read_volatile(&raw const self.theirs.sealed),
                core::ptr::read_volatile(&raw const self.mine.ack),
            )
        };
        flags & flight::OVER != 0 && ack.wrapping_sub(sealed) as i32 > 0
    }

    /// Content that reports the last record header. Read from the map, since the verifier would
    /// process the emission separately for each record type and length that a branch tested.
    #[inline(always)]
    fn last_header(&self) -> Content {
        let flight = &*self.mine;
        // SAFETY: a live field; volatile, since the compiler would use the values that it has.
        let part = unsafe { core::ptr::read_volatile(&raw const flight.part) };
        let seq = flight.next.wrapping_sub(HEADER);
        let (kind, length) = ((part >> 32) as u8, (part & 0xffff) as u32);
        Content::header(kind, seq, length, flight.skipped)
    }

    /// Processes the header of an encrypted record of TLS 1.3. Returns the flags that it sets; 0
    /// where it is not emitted.
    ///
    /// What the client sent before it had received the server's encrypted flight is early data. Of
    /// the server's flight the first record is emitted, and then the one that answers the client's.
    #[inline(always)]
    fn sealed(&mut self, length: u32) -> u32 {
        let answers = self.answers();
        let is_client = *self.client == self.me;
        let flight = &mut *self.mine;
        let first = flight.flags & flight::OVER == 0;
        if !answers && (is_client || !first) {
            return 0;
        }
        if first {
            flight.sealed = flight.next;
        }
        if !answers || (is_client && length <= LONGEST_ALERT) {
            flight::OVER
        } else if !is_client {
            flight::OVER | flight::DONE
        } else if !is_finished(length) {
            flight::OVER | flight::LONG
        } else if flight.flags & flight::LONG == 0 {
            flight::OVER | flight::DONE | flight::FINISHED
        } else {
            flight::OVER | flight::DONE
        }
    }
}

/// Skips bytes that arrived out of order and were emitted already.
#[inline(always)]
fn skip_early(flight: &mut Flight) {
    let from = flight.early_from.wrapping_sub(flight.next) as i32;
    let to = flight.early_to.wrapping_sub(flight.next) as i32;
    if flight.early_from != flight.early_to && from <= 0 && to > 0 {
        let early = min(to as u32, flight.left);
        flight.next = flight.next.wrapping_add(early);
        flight.left -= early;
    }
}

/// Processes a packet that arrived before its predecessors. Bytes of a record that is being copied
/// are emitted at once; of others the position of the next record header is unknown.
#[inline(always)]
fn out_of_order(
    ctx: &SkBuffContext,
    flight: &mut Flight,
    packet: &Packet,
    at: &PacketContext,
    ahead: u32,
) -> Result<Stream, Fault> {
    let contiguous = flight.early_from == flight.early_to || packet.seq == flight.early_to;
    let content = if flight.flags & flight::COPYING != 0
        && ahead < flight.left
        && contiguous
        && flight.copied < MAX_COPY
    {
        let piece = min(
            min(flight.left - ahead, packet.end - packet.at),
            LARGE as u32,
        );
        if flight.early_from == flight.early_to {
            flight.early_from = packet.seq;
        }
        flight.early_to = packet.seq.wrapping_add(piece);
        flight.copied += piece;
        Content::bytes(flight, packet.seq, flight.left - ahead, packet.at, piece)
    } else {
        flight.misplaced += 1;
        if flight.misplaced < MAX_HEADERS {
            return Ok(Stream::Tls);
        }
        let over = flight.flags & flight::OVER != 0;
        flight.flags |= flight::OVER | flight::DONE;
        if over {
            // The handshake is known already; only what follows is not.
            return Ok(Stream::Tls);
        }
        Content::header(what::LOST, flight.next, 0, 0)
    };
    emit(ctx, at, flight.repeats, &content)?;
    Ok(Stream::Tls)
}

/// Whether a handshake record after a change_cipher_spec is a hello in plaintext: after a
/// HelloRetryRequest both sides may have sent change_cipher_spec already (RFC 8446, appendix D.4).
/// An encrypted Finished looks like one once in 8 million.
#[inline(always)]
fn second_hello(start: u32, record: u32) -> bool {
    let kind = start >> 24;
    let length = start & 0x00ff_ffff;
    (kind == CLIENT_HELLO || kind == SERVER_HELLO) && length >= 38 && length + 4 <= record + 4_096
}

/// Whether an encrypted record has the length of a Finished of TLS 1.3: a hash of 32 or 48 bytes, a
/// message header, the record's type, and a tag of 16 bytes, or of 8 with SHA-256.
#[inline(always)]
const fn is_finished(length: u32) -> bool {
    // Not by value: the verifier would follow each of them separately.
    let bit = length.wrapping_sub(45);
    bit < 32 && (0x0100_0101 >> bit) & 1 != 0
}

#[inline(always)]
pub(crate) fn min(left: u32, right: u32) -> u32 {
    if left < right { left } else { right }
}
