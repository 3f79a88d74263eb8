//! Walks one direction of a connection, record by record, and tells what belongs to its first flight.

use crate::{
    kernel::Fault,
    packet::{Packet, load},
    tell::{Place, Saying, tell},
};
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::wire::{Flight, LARGE, MAX_COPY, State, flight, what};

/// Headers told per direction, and packets that cannot be placed, before the stream is given up.
const PATIENCE: u32 = 16;
/// Length of a record header.
const HEADER: u32 = 5;
/// Longest record body: 2^14 bytes and what encryption may add (RFC 5246, section 6.2.3).
const MAX_RECORD: u32 = 16_384 + 2_048;
/// `handshake_type` of ClientHello and ServerHello (RFC 8446, section 4).
const CLIENT_HELLO: u32 = 1;
const SERVER_HELLO: u32 = 2;

/// Looks at a packet; sets `state.done` where this is no TLS or was reset. At most `STEPS` records and pieces of them. `true`
/// once both sides have finished.
#[inline(never)]
pub(crate) fn walk<const STEPS: u32>(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    place: &Place,
) -> Result<bool, Fault> {
    let way = u32::from(place.way & 1);
    // Not by index: the verifier would have to bound it.
    let [to, from] = &mut state.flights;
    let (mine, theirs) = if way == 0 { (to, from) } else { (from, to) };
    let mut result = Ok(());
    if packet.at < packet.end && mine.flags & flight::DONE == 0 {
        let mut view = View {
            client: &mut state.client,
            me: way + 1,
            mine,
            theirs: theirs.flags,
        };
        match view.steps::<STEPS>(ctx, packet, place) {
            Ok(Seen::Tls) => {}
            Ok(Seen::NoTls) => state.done = 1,
            Err(fault) => result = Err(fault),
        }
    }
    let over = theirs.flags & mine.flags & flight::DONE != 0;
    // A FIN that overtook data does not end the stream yet.
    let last = packet.seq.wrapping_add(packet.end.wrapping_sub(packet.at)) == mine.next;
    let closes =
        packet.fin() && (last || mine.flags & flight::BEGUN == 0 || mine.flags & flight::DONE != 0);
    let ends = (closes || packet.rst()) && mine.flags & flight::CLOSED == 0;
    if state.client != 0 && ends && !over {
        mine.flags |= flight::CLOSED;
        let what = if packet.rst() { what::RESET } else { what::FIN };
        result = result.and(tell(
            ctx,
            place,
            mine.repeats,
            &Saying::header(what, packet.seq, 0),
        ));
        if packet.rst() {
            state.done = 1;
        }
    }
    result.map(|()| over)
}

/// What a run looks at. All that changes from step to step lies in the state, none of it in variables: so every way through
/// a step looks the same to the verifier, which would otherwise follow their combinations.
struct View<'a> {
    /// [`State::client`].
    client: &'a mut u32,
    /// What it is when this direction is the client's.
    me: u32,
    mine: &'a mut Flight,
    /// Flags of the other direction.
    theirs: u32,
}

enum Seen {
    Tls,
    NoTls,
}

enum Next {
    /// A piece of a header, or a header of what is told as a whole.
    Silent,
    /// Tell the header.
    Header(u8, u32),
    /// The stream is lost.
    Lost,
    /// It never was TLS.
    NoTls,
}

impl View<'_> {
    /// The packet's bytes, record by record.
    #[inline(always)]
    fn steps<const STEPS: u32>(
        &mut self,
        ctx: &SkBuffContext,
        packet: &Packet,
        place: &Place,
    ) -> Result<Seen, Fault> {
        let flight = &mut *self.mine;
        if flight.flags & flight::BEGUN == 0 {
            flight.next = packet.seq;
            flight.flags |= flight::BEGUN;
        }
        if flight.next != packet.seq {
            let ahead = packet.seq.wrapping_sub(flight.next) as i32;
            if ahead > 0 {
                return ahead_of_time(ctx, flight, packet, place, ahead as u32);
            }
            flight.repeats += 1;
        }
        for _ in 0..STEPS {
            let flight = &mut *self.mine;
            let at = packet.at.wrapping_add(flight.next.wrapping_sub(packet.seq));
            if at >= packet.end || flight.flags & flight::DONE != 0 {
                break;
            }
            let there = packet.end - at;
            let saying = if flight.left == 0 {
                match self.header(ctx, at, there, packet.end)? {
                    Next::Silent => continue,
                    Next::Header(what, length) => {
                        Saying::header(what, self.mine.next.wrapping_sub(HEADER), length)
                    }
                    Next::Lost => {
                        self.mine.flags |= flight::DONE;
                        Saying::header(what::LOST, self.mine.next, 0)
                    }
                    Next::NoTls => return Ok(Seen::NoTls),
                }
            } else {
                let copying = flight.flags & flight::COPYING != 0;
                let mut length = min(flight.left, there);
                if copying {
                    length = min(length, LARGE as u32);
                }
                let (seq, left) = (flight.next, flight.left);
                flight.next = seq.wrapping_add(length);
                flight.left = left - length;
                let told = copying && flight.copied < MAX_COPY;
                skip_early(flight);
                if !told {
                    continue;
                }
                flight.copied += length;
                Saying::bytes(flight, seq, left, at, length)
            };
            tell(ctx, place, self.mine.repeats, &saying)?;
        }
        Ok(Seen::Tls)
    }

    /// A record header, or the part of one that is there.
    #[inline(always)]
    fn header(
        &mut self,
        ctx: &SkBuffContext,
        at: u32,
        there: u32,
        end: u32,
    ) -> Result<Next, Fault> {
        let flight = &mut *self.mine;
        let first = *self.client == 0;
        let taken = if flight.have == 0 && there >= HEADER {
            let high: u32 = load(ctx, at)?;
            let low: u8 = load(ctx, at + 4)?;
            flight.part = u64::from(u32::from_be(high)) << 8 | u64::from(low);
            HEADER
        } else {
            let byte: u8 = load(ctx, at)?;
            flight.part = flight.part << 8 | u64::from(byte);
            if first && flight.have == 0 && byte != what::HANDSHAKE {
                return Ok(Next::NoTls);
            }
            1
        };
        flight.have += taken;
        flight.next = flight.next.wrapping_add(taken);
        if flight.have < HEADER {
            return Ok(Next::Silent);
        }
        let kind = (flight.part >> 32) as u8;
        let major = (flight.part >> 24) as u8;
        let length = (flight.part & 0xffff) as u32;
        flight.part = 0;
        flight.have = 0;
        let known = (what::CHANGE_CIPHER_SPEC..=what::APPLICATION_DATA).contains(&kind);
        let record = known && major == 3 && length != 0 && length <= MAX_RECORD;
        // The start of the body, where the packet has it.
        let body = at + taken;
        let start: u32 = if body + 4 <= end {
            u32::from_be(load(ctx, body)?)
        } else {
            0
        };
        if first {
            if !record || kind != what::HANDSHAKE || (start != 0 && start >> 24 != CLIENT_HELLO) {
                return Ok(Next::NoTls);
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
        let is_client = *self.client == self.me;
        let answered = self.theirs & (flight::CIPHERED | flight::DONE) != 0;
        if kind == what::APPLICATION_DATA && is_client && !answered {
            // Data ahead of the server's flight is early data: the client's Finished is still to come.
            return Ok(Next::Silent);
        }
        flight.told += 1;
        if kind == what::CHANGE_CIPHER_SPEC {
            flight.flags |= flight::CIPHERED;
        }
        if kind != what::CHANGE_CIPHER_SPEC || flight.told >= PATIENCE {
            flight.flags |= flight::DONE;
        }
        Ok(Next::Header(kind, length))
    }
}

/// Where the bytes that follow were told already, since they came early, goes past them.
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

/// A packet that others should have preceded. What lies in a record that is being told is told at once; the rest cannot be
/// placed, since nobody knows where the next record begins.
#[inline(always)]
fn ahead_of_time(
    ctx: &SkBuffContext,
    flight: &mut Flight,
    packet: &Packet,
    place: &Place,
    ahead: u32,
) -> Result<Seen, Fault> {
    let fits = flight.early_from == flight.early_to || packet.seq == flight.early_to;
    let saying = if flight.flags & flight::COPYING != 0
        && ahead < flight.left
        && fits
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
        Saying::bytes(flight, packet.seq, flight.left - ahead, packet.at, piece)
    } else {
        flight.misplaced += 1;
        if flight.misplaced < PATIENCE {
            return Ok(Seen::Tls);
        }
        flight.flags |= flight::DONE;
        Saying::header(what::LOST, flight.next, 0)
    };
    tell(ctx, place, flight.repeats, &saying)?;
    Ok(Seen::Tls)
}

/// Whether a handshake record behind a change of cipher specification is a hello in clear: after a HelloRetryRequest both
/// sides may have sent that already (RFC 8446, appendix D.4). A Finished in cipher looks like one once in 8 million.
#[inline(always)]
fn second_hello(start: u32, record: u32) -> bool {
    let kind = start >> 24;
    let length = start & 0x00ff_ffff;
    (kind == CLIENT_HELLO || kind == SERVER_HELLO) && length >= 38 && length + 4 <= record + 4_096
}

#[inline(always)]
fn min(left: u32, right: u32) -> u32 {
    if left < right { left } else { right }
}
