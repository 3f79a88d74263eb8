//! Connection state of a packet. Packets of connections that are done return after one lookup.

use crate::{
    emit::PacketContext,
    evidence, flight,
    maps::{WIRE_BLANK, WIRE_EARLY, store, stored},
    packet::{self, Packet, TCP},
    search,
};
use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_tcp_sock},
    programs::SkBuffContext,
};
use core::ptr::read_volatile;
use reprise_ebpf::{
    Socket,
    kernel::Fault,
    tcp::{STATE_LISTEN, STATE_SYN_SENT},
    wire::{State, direction, flight::HIGH},
};

/// Steps per packet, of one record header or one piece of a body each. Packets with more carry bulk
/// data.
const STEPS: u32 = 16;
/// Steps for the packet that arrives before its socket exists: a ClientHello.
const STEPS_EARLY: u32 = 8;
/// A bit that is set in `AF_INET6` (10) and clear in `AF_INET` (2) (include/linux/socket.h).
const INET6_BIT: u32 = 8;

/// A socket under observation and its state; null where it has none yet.
pub(crate) struct Observed {
    sk: *mut bpf_sock,
    state: *mut State,
}

/// Returns the packet's socket; `None` where it has none of its own, or where its connection is
/// done.
#[inline(always)]
pub(crate) fn lookup(ctx: &SkBuffContext) -> Option<Observed> {
    // SAFETY: the context is live during the run; the verifier checks the null test before any use.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: as above; a socket that is not full has no storage, or gives null here.
    let sk = unsafe { storage_owner(sk) };
    if sk.is_null() {
        return None;
    }
    let state = stored(sk);
    // SAFETY: a live value, which only runs of the same connection write.
    let done = !state.is_null() && unsafe { (*state).done } != 0;
    (!done).then_some(Observed { sk, state })
}

/// Returns the packet's socket as `bpf_sk_storage_get` accepts it: unchanged since 5.10
/// (`ARG_PTR_TO_BTF_ID_SOCK_COMMON`, net/core/bpf_sk_storage.c), which saves a call for every
/// packet of the host. Where the verifier refuses that, the agent loads the object without ring
/// buffers.
///
/// # Safety
///
/// `sk` must be the packet's socket, and not null.
#[inline(always)]
unsafe fn storage_owner(sk: *mut bpf_sock) -> *mut bpf_sock {
    if cfg!(feature = "ring") {
        return sk;
    }
    // SAFETY: guaranteed by the caller; requests and time-wait sockets give null.
    unsafe { bpf_sk_fullsock(sk) }
}

#[inline(never)]
pub(crate) fn try_packet(
    ctx: &SkBuffContext,
    way: u8,
    Observed { sk, state }: Observed,
) -> Result<(), Fault> {
    // `storage_owner` did not check this.
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
    let Some(mut packet) = packet::parse(ctx)? else {
        return Ok(());
    };
    // SAFETY: a full socket, checked above.
    let phase = unsafe { (*sk).state };
    if phase == STATE_LISTEN {
        return if way == direction::IN {
            early(ctx, sk, &mut packet)
        } else {
            Ok(())
        };
    }
    // Nothing to read and no connection under observation yet; or a packet of its set-up.
    if phase == STATE_SYN_SENT || (state.is_null() && !packet.is_relevant() && !packet.syn()) {
        return Ok(());
    }
    let state = if state.is_null() {
        create(ctx, sk, way == direction::IN && packet.length() > 0)
    } else {
        state
    };
    if state.is_null() {
        return Err(Fault::MapFull);
    }
    // SAFETY: a live value that exists as long as the socket, which outlives the run. The two
    // directions write different parts; packets of one direction of one socket are processed one
    // after the other.
    let state = unsafe { &mut *state };
    let Some((rtt_us, rtt_min_us)) = rtt(sk) else {
        return Ok(());
    };
    let mut at = PacketContext {
        socket: tuple(sk, state.netns),
        way,
        rtt_us,
        rtt_min_us,
    };
    // SAFETY: the context is live during the run.
    at.socket.cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    if state.client == 0 && !search::may_begin(ctx, state, &mut packet, &at)? {
        return Ok(());
    }
    // Counted at once: a result that lives longer is one more value by which paths differ for the
    // verifier.
    crate::record(ctx, evidence::observe(ctx, state, &packet, &at));
    let incoming = way == direction::IN;
    if packet.is_relevant() && !state.is_settled() {
        if state.client == 0 && packet.length() == 0 {
            return flight::process_silent_end(ctx, state, &packet, &at);
        }
        flight::process::<STEPS>(ctx, state, &packet, &at)?;
        begins_tls(state, &at.socket);
    }
    if state.is_over() {
        evidence::await_end(state, &packet, incoming);
    }
    Ok(())
}

/// Creates the state of a socket: the one its listener has built, or a blank one; null where that
/// fails. `data` is whether the packet brings data. A function of its own for the sake of the
/// stack.
#[inline(never)]
fn create(ctx: &SkBuffContext, sk: *mut bpf_sock, data: bool) -> *mut State {
    let key = evidence::tuple_of(&tuple(sk, netns(sk)));
    if let Some(early) = WIRE_EARLY.get_ptr(key) {
        let state = store(sk, early);
        let _ = WIRE_EARLY.remove(key);
        if !state.is_null() {
            // SAFETY: a live value, which only runs of this connection write.
            unsafe { (*state).opened_ms = evidence::opened_ms(&key) };
            evidence::forget_syn(&key);
        }
        return state;
    }
    if data {
        crate::record(ctx, evidence::first_data(ctx, &key));
    }
    let Some(blank) = WIRE_BLANK.get_ptr(0) else {
        return core::ptr::null_mut();
    };
    let state = store(sk, blank);
    // SAFETY: the kernel checks that the socket is TCP's; the verifier sees the null test. A live
    // value, which only runs of this connection write. No process has this socket yet, so its
    // backlog is empty and `rcv_nxt` is exact.
    unsafe {
        let tcp = bpf_tcp_sock(sk);
        if !state.is_null() && !tcp.is_null() {
            (*state).netns = key.netns;
            (*state).opened_ms = evidence::opened_ms(&key);
            (*state).flights[direction::IN as usize].high = (*tcp).rcv_nxt;
            (*state).flights[direction::IN as usize].flags = HIGH;
            evidence::forget_syn(&key);
        }
    }
    state
}

/// Returns the smoothed and the minimum round-trip time of a connection, microseconds; the minimum
/// is the largest number where none was measured. `None` where the socket is not TCP's. Both are
/// read unconditionally, for the same reason as in [`tuple`].
#[inline(always)]
fn rtt(sk: *mut bpf_sock) -> Option<(u32, u32)> {
    // SAFETY: a full socket; null where it is not TCP's, which the verifier sees tested.
    unsafe {
        let tcp = bpf_tcp_sock(sk);
        if tcp.is_null() {
            return None;
        }
        // In eighths (`struct bpf_tcp_sock`, include/uapi/linux/bpf.h).
        Some(((*tcp).srtt_us >> 3, (*tcp).rtt_min))
    }
}

/// Processes data that arrives together with the end of the TCP handshake.
#[inline(always)]
fn early(ctx: &SkBuffContext, listener: *mut bpf_sock, packet: &mut Packet) -> Result<(), Fault> {
    let begins = packet.syn() && !packet.acks();
    if packet.at >= packet.end && !begins {
        if packet.acks() && !packet.is_relevant() {
            evidence::record_ack(&packet.incoming_tuple(ctx, netns(listener))?);
        }
        return Ok(());
    }
    let key = packet.incoming_tuple(ctx, netns(listener))?;
    if begins {
        evidence::record_syn(ctx, &key, packet.seq)?;
        // Data in a SYN is TCP Fast Open.
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
    let at = PacketContext {
        socket: evidence::socket_of(&key),
        way: direction::IN,
        // A listener has no measurement.
        rtt_us,
        rtt_min_us: 0,
    };
    // SAFETY: a live LRU entry; a concurrent eviction may recycle the slot, never unmap it.
    let state = unsafe { &mut *state };
    state.netns = key.netns;
    if state.client == 0 && !search::may_begin(ctx, state, packet, &at)? {
        return Ok(());
    }
    if !packet.syn() {
        evidence::record_arrival(&mut state.flights[direction::IN as usize], packet);
    }
    flight::process::<STEPS_EARLY>(ctx, state, packet, &at)?;
    begins_tls(state, &at.socket);
    Ok(())
}

/// Records the port of a server whose clients begin with TLS: where something else comes first, the
/// time of a client's first data is no evidence of loss.
#[inline(always)]
fn begins_tls(state: &State, socket: &Socket) {
    if state.client == u32::from(direction::IN) + 1 && state.searched == 0 {
        evidence::record_port(socket);
    }
}

/// Returns the network namespace of a full socket; 0 where it is unknown.
#[inline(always)]
fn netns(sk: *mut bpf_sock) -> u32 {
    #[cfg(feature = "ring")]
    {
        reprise_ebpf::kernel::netns::of_packet(sk)
    }
    // Kernels before 5.8 do not let packet programs read the kernel's memory.
    #[cfg(not(feature = "ring"))]
    {
        let _ = sk;
        0
    }
}

/// Returns the socket's own addresses, since address translation can change the packet's. Fields of
/// both families are read, and volatile: the compiler would otherwise select between field
/// addresses, which the verifier forbids on sockets. Masks combine them instead of branches, after
/// which older verifiers would process each path separately.
#[inline(always)]
fn tuple(sk: *mut bpf_sock, netns: u32) -> Socket {
    // SAFETY: a full socket, whose fields the kernel lets programs read one by one.
    unsafe {
        let six_mask = 0_u64.wrapping_sub(u64::from(
            (read_volatile(&raw const (*sk).family) / INET6_BIT) & 1,
        ));
        let four = [
            read_volatile(&raw const (*sk).src_ip4),
            read_volatile(&raw const (*sk).dst_ip4),
        ];
        let mixed = |six: [u64; 2], four: u32| {
            let four = packet::v4_mapped(four);
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
            netns,
            cookie: 0,
        }
    }
}

/// Reads an IPv6 address, word by word.
///
/// # Safety
///
/// `field` must be an address field of a full socket.
#[inline(always)]
unsafe fn six(field: *const [u32; 4]) -> [u64; 2] {
    let field: *const u32 = field.cast();
    // SAFETY: guaranteed by the caller.
    let [a, b, c, d] = unsafe {
        [
            read_volatile(field),
            read_volatile(field.add(1)),
            read_volatile(field.add(2)),
            read_volatile(field.add(3)),
        ]
    };
    // In memory order.
    [
        u64::from(a) | u64::from(b) << 32,
        u64::from(c) | u64::from(d) << 32,
    ]
}
