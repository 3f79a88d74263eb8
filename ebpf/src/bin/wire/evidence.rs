//! Loss as it shows at this end: what arrives twice, late, or from beyond a gap, until a handshake is over. Ends when this
//! host's last flight has been acknowledged; bounded in what it tells of one connection.

use crate::{
    kernel::{Fault, now},
    maps::{Opening, WIRE_PORTS, WIRE_SYNS},
    packet::Packet,
    tell::{Place, mark},
};
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::{
    Socket,
    tcp::{DATA_AGAIN, FLIGHT_AGAIN, LATE, MISSING, STALL, SYN_AGAIN, SYNACK_AGAIN, UNHEARD},
    wire::{Flight, State, Tuple, direction, flight},
};

/// Things told of one direction of a connection.
const MAX_MARKS: u32 = 32;
/// Packets that are looked at after both sides have finished, where no acknowledgement ends it.
const MAX_LINGER: u32 = 64;
/// `TCP_RTO_MIN` and `TCP_TIMEOUT_INIT` (include/net/tcp.h), nanoseconds: the shortest retransmission timeout there is on top
/// of the round trip, and the one before that was measured.
const RTO_MIN_NS: u64 = 200_000_000;
const RTO_INIT_NS: u64 = 1_000_000_000;
/// How late first data may be, counted from the SYN, where no ACK of the SYN-ACK came ahead of it: the round trip is not known then.
const UNKNOWN_NS: u64 = 400_000_000;
/// What a round trip may take beyond one and a half of the usual.
const JITTER_NS: u64 = 20_000_000;

/// Looks at a packet before its records are read.
#[inline(never)]
pub(crate) fn look(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    place: &Place,
) -> Result<(), Fault> {
    let incoming = place.way == direction::IN;
    let tls = state.client != 0 || (incoming && serves_tls(place.socket.local_port));
    let lingers = state.linger != 0;
    let last = state.last;
    let [to, from] = &mut state.flights;
    let (mine, theirs) = if incoming { (to, from) } else { (from, to) };
    let length = packet.length();
    // The end of the stream has a number of its own.
    let end = packet.seq.wrapping_add(length + u32::from(packet.fin()));
    let now = now();
    if mine.flags & flight::HIGH == 0 {
        mine.high = packet.seq;
        mine.flags |= flight::HIGH;
    }
    let ahead = packet.seq.wrapping_sub(mine.high) as i32;
    let mut kind = 0;
    if incoming && packet.syn() {
        kind = SYNACK_AGAIN;
    } else if incoming && ahead > 0 {
        mine.gap_ns = now;
        kind = MISSING;
    } else if incoming && length > 0 && ahead < 0 {
        // What fills a gap within a quarter of the shortest round trip may only have come by another way (RFC 8985, 6.2: RACK's
        // reordering window). Its sender cannot know of a gap before a whole one, but on a short link that was measured too long.
        let reordered = match place.rtt_us {
            0 => 0,
            _ => u64::from(place.rtt_min_us) * 250,
        };
        if mine.gap_ns == 0 || now - mine.gap_ns >= reordered {
            kind = DATA_AGAIN;
        }
    } else if incoming && length > 0 && mine.left > 0 && mine.last_ns != 0 {
        let timeout = match place.rtt_us {
            0 => RTO_INIT_NS,
            rtt => RTO_MIN_NS + u64::from(rtt) * 1000,
        };
        if now - mine.last_ns >= timeout {
            kind = STALL;
        }
    } else if !incoming && lingers && length > 0 && (packet.seq.wrapping_sub(last) as i32) < 0 {
        kind = FLIGHT_AGAIN;
    }
    if kind == 0
        && incoming
        && packet.acks()
        && !packet.rst()
        && unheard(theirs, packet.ack, now, place)
    {
        kind = UNHEARD;
    }
    if length > 0 || packet.fin() {
        mine.last_ns = now;
    }
    if end.wrapping_sub(mine.high) as i32 > 0 {
        mine.high = end;
    }
    // A SYN-ACK comes ahead of any ClientHello.
    if kind == 0 || !(tls || kind == SYNACK_AGAIN) || mine.marks >= MAX_MARKS {
        return Ok(());
    }
    mine.marks += 1;
    mark(ctx, &place.socket, kind)
}

/// Notes how far data has come that its listener saw: what follows is held to that.
#[inline(always)]
pub(crate) fn arrived(mine: &mut Flight, packet: &Packet) {
    let end = packet.seq.wrapping_add(packet.length());
    if mine.flags & flight::HIGH == 0 || end.wrapping_sub(mine.high) as i32 > 0 {
        mine.high = end;
        mine.flags |= flight::HIGH;
    }
}

/// Whether the peer acknowledges less than what had left a round trip before the packet came: so it had not arrived there.
#[inline(always)]
fn unheard(sent: &Flight, ack: u32, now: u64, place: &Place) -> bool {
    let trip = match place.rtt_us {
        0 => RTO_MIN_NS,
        rtt => u64::from(rtt) * 1500 + JITTER_NS,
    };
    let behind = (ack.wrapping_sub(sent.high) as i32) < 0;
    // Another CPU may have sent since `now`.
    sent.last_ns != 0 && behind && now >= sent.last_ns + trip
}

/// Both sides have finished: is this host's last flight acknowledged, so that nothing of the handshake can be sent again?
#[inline(always)]
pub(crate) fn settle(state: &mut State, packet: &Packet, incoming: bool) {
    if state.linger == 0 {
        state.last = state.flights[direction::OUT as usize].high;
    }
    state.linger += 1;
    let acknowledged = incoming && packet.acks() && packet.ack.wrapping_sub(state.last) as i32 >= 0;
    if acknowledged || packet.rst() || state.linger > MAX_LINGER {
        state.done = 1;
    }
}

/// A SYN that arrived at a listener.
#[inline(never)]
pub(crate) fn syn(ctx: &SkBuffContext, key: &Tuple, seq: u32) -> Result<(), Fault> {
    if !serves_tls(key.local_port) {
        return Ok(());
    }
    if let Some(seen) = WIRE_SYNS.get_ptr(key)
        // SAFETY: a live LRU entry; a concurrent eviction may recycle the slot, never unmap it.
        && unsafe { (*seen).seq } == seq
    {
        return mark(ctx, &socket_of(key), SYN_AGAIN);
    }
    let opening = Opening {
        syn_ns: now(),
        ack_ns: 0,
        seq,
        reserved: 0,
    };
    WIRE_SYNS
        .insert(key, opening, 0)
        .map_err(|_| Fault::MapFull)
}

/// An ACK without data arrived at a listener: the end of the TCP handshake.
#[inline(always)]
pub(crate) fn opened(key: &Tuple) {
    if let Some(opening) = WIRE_SYNS.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe {
            if (*opening).ack_ns == 0 {
                (*opening).ack_ns = now();
            }
        }
    }
}

/// The first data of a connection that a listener opened: was it lost before? Its sender had measured the round trip, as the listener
/// can, where the ACK came.
#[inline(never)]
pub(crate) fn first_data(ctx: &SkBuffContext, key: &Tuple) -> Result<(), Fault> {
    let Some(opening) = WIRE_SYNS.get_ptr(key) else {
        return Ok(());
    };
    // SAFETY: as above.
    let (syn_ns, ack_ns) = unsafe { ((*opening).syn_ns, (*opening).ack_ns) };
    let due = match ack_ns {
        0 => syn_ns + UNKNOWN_NS,
        ack_ns => ack_ns + (ack_ns - syn_ns) + RTO_MIN_NS,
    };
    if now() < due {
        return Ok(());
    }
    mark(ctx, &socket_of(key), LATE)
}

#[inline(always)]
const fn socket_of(key: &Tuple) -> Socket {
    Socket {
        local: [key.local[0], key.local[1]],
        remote: [key.remote[0], key.remote[1]],
        local_port: key.local_port,
        remote_port: key.remote_port,
        reserved: 0,
        cookie: 0,
    }
}

/// A ClientHello arrived at this port.
#[inline(always)]
pub(crate) fn note_port(port: u16) {
    if !serves_tls(port) {
        // Without room there is no evidence of SYNs and gaps there, and nothing else is lost.
        let _ = WIRE_PORTS.insert(u32::from(port), 1, 0);
    }
}

#[inline(always)]
fn serves_tls(port: u16) -> bool {
    WIRE_PORTS.get_ptr(u32::from(port)).is_some()
}
