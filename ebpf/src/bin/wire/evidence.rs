//! Evidence of packet loss at this end: packets that arrive twice, late or after a gap, until the
//! handshake is over. Ends when this host's last flight is acknowledged. The number of events per
//! connection is bounded.

use crate::{
    emit::{PacketContext, emit_tcp},
    maps::{Opening, WIRE_PORTS, WIRE_SYNS},
    packet::Packet,
};
use aya_ebpf::programs::SkBuffContext;
use reprise_ebpf::{
    Socket,
    kernel::{Fault, now},
    tcp::{DATA_AGAIN, FLIGHT_AGAIN, LATE, MISSING, STALL, SYN_AGAIN, SYNACK_AGAIN, UNHEARD},
    wire::{ACKNOWLEDGED, Flight, State, Tuple, direction, flight},
};

/// Events per direction of a connection.
const MAX_TCP_EVENTS: u32 = 32;
/// Packets observed after both first flights have ended, where no acknowledgement comes.
const MAX_LINGER: u32 = 64;
/// `TCP_RTO_MIN` and `TCP_TIMEOUT_INIT` (include/net/tcp.h), nanoseconds: the minimum that a
/// retransmission timeout adds to the round-trip time, and the timeout before the first
/// measurement.
const RTO_MIN_NS: u64 = 200_000_000;
const RTO_INIT_NS: u64 = 1_000_000_000;
/// Latest arrival of first data after the SYN, nanoseconds, where no ACK of the SYN-ACK came before
/// it and the round-trip time is therefore unknown.
const UNKNOWN_NS: u64 = 400_000_000;
/// Tolerance beyond one and a half round-trip times.
const JITTER_NS: u64 = 20_000_000;

/// Looks for evidence of loss in a packet, until this host's last flight is acknowledged. Called
/// before the packet's records are processed.
#[inline(never)]
pub(crate) fn observe(
    ctx: &SkBuffContext,
    state: &mut State,
    packet: &Packet,
    at: &PacketContext,
) -> Result<(), Fault> {
    if state.linger >= ACKNOWLEDGED {
        return Ok(());
    }
    let incoming = at.way == direction::IN;
    let tls = state.client != 0 || (incoming && serves_tls(&at.socket));
    let lingers = state.linger != 0;
    let last = state.last;
    let [to, from] = &mut state.flights;
    let (mine, theirs) = if incoming { (to, from) } else { (from, to) };
    let length = packet.length();
    // The FIN has a sequence number of its own.
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
        // Data that fills a gap within a quarter of the minimum round-trip time may have been
        // reordered (RFC 8985, 6.2: RACK's reordering window). Its sender cannot know of the gap
        // before a whole round trip; the quarter allows for a minimum that was measured too long.
        let reordered = match at.rtt_us {
            0 => 0,
            _ => u64::from(at.rtt_min_us) * 250,
        };
        if mine.gap_ns == 0 || now - mine.gap_ns >= reordered {
            kind = DATA_AGAIN;
        }
    } else if incoming && length > 0 && mine.last_ns != 0 && is_awaited(mine) {
        let timeout = match at.rtt_us {
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
        && unacknowledged(theirs, packet.ack, now, at)
    {
        kind = UNHEARD;
    }
    if length > 0 || packet.fin() {
        mine.last_ns = now;
    }
    if end.wrapping_sub(mine.high) as i32 > 0 {
        mine.high = end;
    }
    // A SYN-ACK precedes the ClientHello.
    if kind == 0 || !(tls || kind == SYNACK_AGAIN) || mine.tcp_events >= MAX_TCP_EVENTS {
        return Ok(());
    }
    mine.tcp_events += 1;
    emit_tcp(ctx, &at.socket, kind)
}

/// Whether the next data of this direction belongs to the handshake, too: within a record, or in
/// the flight that begins with the first encrypted record.
#[inline(always)]
const fn is_awaited(flight: &Flight) -> bool {
    flight.left > 0 || flight.flags & flight::OVER != 0
}

/// Records the end of data that arrived at the listener.
#[inline(always)]
pub(crate) fn record_arrival(mine: &mut Flight, packet: &Packet) {
    let end = packet.seq.wrapping_add(packet.length());
    if mine.flags & flight::HIGH == 0 || end.wrapping_sub(mine.high) as i32 > 0 {
        mine.high = end;
        mine.flags |= flight::HIGH;
    }
}

/// Whether the peer acknowledges less than was sent a round-trip time before this packet: the rest
/// had not arrived there.
#[inline(always)]
fn unacknowledged(sent: &Flight, ack: u32, now: u64, at: &PacketContext) -> bool {
    let trip = match at.rtt_us {
        0 => RTO_MIN_NS,
        rtt => u64::from(rtt) * 1500 + JITTER_NS,
    };
    let behind = (ack.wrapping_sub(sent.high) as i32) < 0;
    // Another CPU may have sent since `now`.
    sent.last_ns != 0 && behind && now >= sent.last_ns + trip
}

/// After both first flights: sets `done` once nothing of the handshake can be retransmitted, since
/// this host's last flight is acknowledged, and nothing more is awaited.
#[inline(always)]
pub(crate) fn await_end(state: &mut State, packet: &Packet, incoming: bool) {
    if state.linger == 0 {
        state.last = state.flights[direction::OUT as usize].high;
    }
    state.linger += 1;
    let pending = state.linger < ACKNOWLEDGED;
    let acknowledged = incoming && packet.acks() && packet.ack.wrapping_sub(state.last) as i32 >= 0;
    if pending && (acknowledged || state.linger > MAX_LINGER) {
        state.linger = ACKNOWLEDGED;
    }
    let ended = state.linger >= ACKNOWLEDGED && state.is_settled();
    if ended || packet.rst() || state.linger > ACKNOWLEDGED + MAX_LINGER {
        state.done = 1;
    }
}

/// Records a SYN that arrived at a listener, and emits a repeated one.
#[inline(never)]
pub(crate) fn record_syn(ctx: &SkBuffContext, key: &Tuple, seq: u32) -> Result<(), Fault> {
    if !serves_tls_at(key.netns, key.local_port) {
        return Ok(());
    }
    if let Some(opening) = WIRE_SYNS.get_ptr(key)
        // SAFETY: a live LRU entry; a concurrent eviction may recycle the slot, never unmap it.
        && unsafe { (*opening).seq } == seq
    {
        return emit_tcp(ctx, &socket_of(key), SYN_AGAIN);
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

/// Records an ACK without data that arrived at a listener: the end of the TCP handshake.
#[inline(always)]
pub(crate) fn record_ack(key: &Tuple) {
    if let Some(opening) = WIRE_SYNS.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe {
            if (*opening).ack_ns == 0 {
                (*opening).ack_ns = now();
            }
        }
    }
}

/// Emits [`LATE`] where the first data of an accepted connection was probably lost before: it came
/// later than the retransmission timeout of its sender, which measured the round trip as this host
/// did where the ACK came.
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
    emit_tcp(ctx, &socket_of(key), LATE)
}

/// Returns when a connection was accepted: [`State::opened_ms`].
#[inline(always)]
pub(crate) fn opened_ms(key: &Tuple) -> u32 {
    let Some(opening) = WIRE_SYNS.get_ptr(key) else {
        return 0;
    };
    // SAFETY: as above.
    let (syn_ns, ack_ns) = unsafe { ((*opening).syn_ns, (*opening).ack_ns) };
    let opened_ns = if ack_ns == 0 { syn_ns } else { ack_ns };
    // Rounded down, and never 0.
    ((opened_ns / 1_000_000) as u32).wrapping_sub(1) | 1
}

/// Forgets the TCP handshake of a connection that has a state of its own now.
#[inline(always)]
pub(crate) fn forget_syn(key: &Tuple) {
    let _ = WIRE_SYNS.remove(key);
}

/// Returns the age of a connection from [`State::opened_ms`]:
/// [`reprise_ebpf::wire::Segment::age_ms`].
#[inline(always)]
pub(crate) fn age_ms(opened_ms: u32) -> u32 {
    match opened_ms {
        0 => 0,
        // Rounded up: a program may begin its handshake less than a millisecond after the
        // connection was opened, and never before.
        opened_ms => ((now() / 1_000_000) as u32).wrapping_sub(opened_ms) + 1,
    }
}

/// Returns the connection of a socket.
#[inline(always)]
pub(crate) const fn tuple_of(socket: &Socket) -> Tuple {
    Tuple {
        local: [socket.local[0], socket.local[1]],
        remote: [socket.remote[0], socket.remote[1]],
        local_port: socket.local_port,
        remote_port: socket.remote_port,
        netns: socket.netns,
    }
}

/// Returns the addresses of a connection whose socket does not exist yet.
#[inline(always)]
pub(crate) const fn socket_of(key: &Tuple) -> Socket {
    Socket {
        local: [key.local[0], key.local[1]],
        remote: [key.remote[0], key.remote[1]],
        local_port: key.local_port,
        remote_port: key.remote_port,
        netns: key.netns,
        cookie: 0,
    }
}

/// Records that a ClientHello arrived at the local port. A function of its own for the sake of the
/// stack.
#[inline(never)]
pub(crate) fn record_port(socket: &Socket) {
    if !serves_tls(socket) {
        // Where the map is full only the evidence from SYNs and gaps at this port is missing.
        let _ = WIRE_PORTS.insert(port_key(socket.netns, socket.local_port), 1, 0);
    }
}

/// Whether a ClientHello arrived recently at the local port.
#[inline(always)]
pub(crate) fn serves_tls(socket: &Socket) -> bool {
    serves_tls_at(socket.netns, socket.local_port)
}

#[inline(always)]
fn serves_tls_at(netns: u32, port: u16) -> bool {
    WIRE_PORTS.get_ptr(port_key(netns, port)).is_some()
}

#[inline(always)]
const fn port_key(netns: u32, port: u16) -> u64 {
    (netns as u64) << 16 | port as u64
}
