//! From a packet to the state of its connection. All but the first packets of a connection leave after one look-up.

use crate::{
    evidence, flight,
    kernel::Fault,
    maps::{WIRE_BLANK, WIRE_EARLY, keep, kept},
    packet::{self, Packet, TCP},
    tell::Place,
};
use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_tcp_sock},
    programs::SkBuffContext,
};
use core::ptr::read_volatile;
use reprise_ebpf::{
    Socket,
    wire::{State, Tuple, direction, flight::HIGH},
};

/// `TCP_SYN_SENT` and `TCP_LISTEN` (include/net/tcp_states.h).
const SYN_SENT: u32 = 2;
const LISTEN: u32 = 10;
/// Steps per packet: a record header or a piece of its body each. A packet with more is one of bulk data.
const STEPS: u32 = 16;
/// The same for the one packet that comes before its socket: a ClientHello.
const STEPS_EARLY: u32 = 8;
/// A bit that `AF_INET6` has, 10, and `AF_INET` has not, 2 (include/linux/socket.h).
const SIX: u32 = 8;

/// A socket that may still have something to tell, and what is kept of it, if anything.
pub(crate) struct Seen {
    sk: *mut bpf_sock,
    state: *mut State,
}

/// The packet's socket; `None` where it has none of its own, or there is nothing more to see of it.
#[inline(always)]
pub(crate) fn open(ctx: &SkBuffContext) -> Option<Seen> {
    // SAFETY: the context is live during the run; the verifier checks the null test before any use.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: as above; what is no full socket has no storage, or gives null here.
    let sk = unsafe { storing(sk) };
    if sk.is_null() {
        return None;
    }
    let state = kept(sk);
    // SAFETY: a live value; written below by runs of the same connection only.
    let over = !state.is_null() && unsafe { (*state).done } != 0;
    (!over).then_some(Seen { sk, state })
}

/// The socket of a packet as `bpf_sk_storage_get` takes it: as it is since 5.10 (`ARG_PTR_TO_BTF_ID_SOCK_COMMON`,
/// net/core/bpf_sk_storage.c), which spares every packet of the host a call. Where the verifier refuses that, the agent loads the other object.
///
/// # Safety
///
/// `sk` must be the packet's socket, and not null.
#[inline(always)]
unsafe fn storing(sk: *mut bpf_sock) -> *mut bpf_sock {
    if cfg!(feature = "ring") {
        return sk;
    }
    // SAFETY: the caller's; requests and time-wait sockets give null.
    unsafe { bpf_sk_fullsock(sk) }
}

#[inline(never)]
pub(crate) fn try_packet(
    ctx: &SkBuffContext,
    way: u8,
    Seen { sk, state }: Seen,
) -> Result<(), Fault> {
    // What `storing` did not do.
    #[cfg(feature = "ring")]
    let sk = {
        // SAFETY: a socket of this packet; requests and time-wait sockets give null.
        let sk = unsafe { bpf_sk_fullsock(sk) };
        if sk.is_null() {
            return Ok(());
        }
        sk
    };
    // SAFETY: a full socket, checked above.
    if unsafe { (*sk).protocol } != TCP {
        return Ok(());
    }
    let Some(packet) = packet::parse(ctx)? else {
        return Ok(());
    };
    // SAFETY: a full socket, checked above.
    let phase = unsafe { (*sk).state };
    if phase == LISTEN {
        return if way == direction::IN {
            early(ctx, sk, &packet)
        } else {
            Ok(())
        };
    }
    // Nothing to read, and no connection that is read yet; or what there is belongs to its set-up.
    if phase == SYN_SENT || (state.is_null() && !packet.tells() && !packet.syn()) {
        return Ok(());
    }
    let state = if state.is_null() {
        begin(ctx, sk, way == direction::IN && packet.length() > 0)?
    } else {
        state
    };
    if state.is_null() {
        return Err(Fault::MapFull);
    }
    // SAFETY: a live value that stays as long as the socket, which outlives the run. The two directions write different
    // parts; packets of one direction of one socket are handled one after the other.
    let state = unsafe { &mut *state };
    let Some((rtt_us, rtt_min_us)) = rtt(sk) else {
        return Ok(());
    };
    let mut place = Place {
        socket: tuple(sk),
        way,
        rtt_us,
        rtt_min_us,
    };
    // SAFETY: the context is live during the run.
    place.socket.cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    // Counted at once: what is kept until later is one more thing by which ways differ for the verifier.
    crate::note(ctx, evidence::look(ctx, state, &packet, &place));
    let incoming = way == direction::IN;
    if state.linger != 0 {
        evidence::settle(state, &packet, incoming);
        return Ok(());
    }
    if !packet.tells() {
        return Ok(());
    }
    if flight::walk::<STEPS>(ctx, state, &packet, &place)? {
        evidence::settle(state, &packet, incoming);
    }
    if state.client == u32::from(direction::IN) + 1 {
        evidence::note_port(place.socket.local_port);
    }
    Ok(())
}

/// The state of a socket that has none yet: what its listener saw of it, or nothing. `data` tells whether data arrives.
#[inline(always)]
fn begin(ctx: &SkBuffContext, sk: *mut bpf_sock, data: bool) -> Result<*mut State, Fault> {
    let socket = tuple(sk);
    let key = Tuple {
        local: socket.local,
        remote: socket.remote,
        local_port: socket.local_port,
        remote_port: socket.remote_port,
        reserved: 0,
    };
    if let Some(early) = WIRE_EARLY.get_ptr(key) {
        let state = keep(sk, early);
        let _ = WIRE_EARLY.remove(key);
        return Ok(state);
    }
    if data {
        evidence::first_data(ctx, &key)?;
    }
    let blank = WIRE_BLANK.get_ptr(0).ok_or(Fault::MapFull)?;
    let state = keep(sk, blank);
    // SAFETY: the kernel checks that the socket is TCP's; the verifier sees the null test. A live value, written by runs of
    // this connection only. Nobody has this socket yet, so nothing waits in its backlog, behind the back of `rcv_nxt`.
    unsafe {
        let tcp = bpf_tcp_sock(sk);
        if !state.is_null() && !tcp.is_null() {
            (*state).flights[direction::IN as usize].high = (*tcp).rcv_nxt;
            (*state).flights[direction::IN as usize].flags = HIGH;
        }
    }
    Ok(state)
}

/// Round-trip time of a connection, microseconds: smoothed, and the shortest one, which is the longest number where none was
/// measured; `None` where the socket is not TCP's. Both are read whatever they are, for the same reason as in [`tuple`].
#[inline(always)]
fn rtt(sk: *mut bpf_sock) -> Option<(u32, u32)> {
    // SAFETY: a full socket; null where it is not TCP's, which the verifier sees tested.
    unsafe {
        let tcp = bpf_tcp_sock(sk);
        if tcp.is_null() {
            return None;
        }
        // Kept in eighths (`struct bpf_tcp_sock`, include/uapi/linux/bpf.h).
        Some(((*tcp).srtt_us >> 3, (*tcp).rtt_min))
    }
}

/// Data that arrives together with the end of the TCP handshake.
#[inline(always)]
fn early(ctx: &SkBuffContext, listener: *mut bpf_sock, packet: &Packet) -> Result<(), Fault> {
    let begins = packet.syn() && !packet.acks();
    if packet.at >= packet.end && !begins {
        if packet.acks() && !packet.tells() {
            evidence::opened(&packet.arrived_on(ctx)?);
        }
        return Ok(());
    }
    let key = packet.arrived_on(ctx)?;
    if begins {
        evidence::syn(ctx, &key, packet.seq)?;
        // Data in it is that of TCP Fast Open.
        if packet.at >= packet.end {
            return Ok(());
        }
    }
    if WIRE_EARLY.get_ptr(key).is_none() {
        let blank = WIRE_BLANK.get(0).ok_or(Fault::MapFull)?;
        evidence::first_data(ctx, &key)?;
        WIRE_EARLY
            .insert(key, blank, 0)
            .map_err(|_| Fault::MapFull)?;
    }
    let state = WIRE_EARLY.get_ptr_mut(key).ok_or(Fault::MapFull)?;
    let Some((rtt_us, _)) = rtt(listener) else {
        return Ok(());
    };
    let place = Place {
        socket: Socket {
            local: key.local,
            remote: key.remote,
            local_port: key.local_port,
            remote_port: key.remote_port,
            reserved: 0,
            cookie: 0,
        },
        way: direction::IN,
        // A listener has measured nothing.
        rtt_us,
        rtt_min_us: 0,
    };
    // SAFETY: a live LRU entry; a concurrent eviction may recycle the slot, never unmap it.
    let state = unsafe { &mut *state };
    if !packet.syn() {
        evidence::arrived(&mut state.flights[direction::IN as usize], packet);
    }
    flight::walk::<STEPS_EARLY>(ctx, state, packet, &place)?;
    if state.client == u32::from(direction::IN) + 1 {
        evidence::note_port(key.local_port);
    }
    Ok(())
}

/// The socket's own addresses: behind a translation of addresses the packet's would be others. All are read, of both families
/// and volatile: the compiler would choose between addresses of fields, which the verifier forbids on sockets. And mixed by masks: what
/// a branch leaves behind, a constant here and something unknown there, older verifiers follow to the end one by one.
#[inline(always)]
fn tuple(sk: *mut bpf_sock) -> Socket {
    // SAFETY: a full socket, whose fields the kernel lets programs read one by one.
    unsafe {
        let six_mask = 0_u64.wrapping_sub(u64::from(
            (read_volatile(&raw const (*sk).family) / SIX) & 1,
        ));
        let four = [
            read_volatile(&raw const (*sk).src_ip4),
            read_volatile(&raw const (*sk).dst_ip4),
        ];
        let mixed = |six: [u64; 2], four: u32| {
            let four = packet::mapped(four);
            [
                (six[0] & six_mask) | (four[0] & !six_mask),
                (six[1] & six_mask) | (four[1] & !six_mask),
            ]
        };
        Socket {
            local: mixed(six(&raw const (*sk).src_ip6), four[0]),
            remote: mixed(six(&raw const (*sk).dst_ip6), four[1]),
            local_port: read_volatile(&raw const (*sk).src_port) as u16,
            remote_port: u16::from_be(read_volatile(&raw const (*sk).dst_port)),
            reserved: 0,
            cookie: 0,
        }
    }
}

/// An IPv6 address, word by word.
///
/// # Safety
///
/// `field` must be an address field of a full socket.
#[inline(always)]
unsafe fn six(field: *const [u32; 4]) -> [u64; 2] {
    let field: *const u32 = field.cast();
    // SAFETY: the caller's.
    let [a, b, c, d] = unsafe {
        [
            read_volatile(field),
            read_volatile(field.add(1)),
            read_volatile(field.add(2)),
            read_volatile(field.add(3)),
        ]
    };
    // As the words lie in memory.
    [
        u64::from(a) | u64::from(b) << 32,
        u64::from(c) | u64::from(d) << 32,
    ]
}
