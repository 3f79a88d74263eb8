//! The socket of a handshake, and whether it was closed while the handshake was open.

use crate::{
    listener,
    maps::{HS_OPEN, HS_SOCKETS, HS_TUPLES},
};
use aya_ebpf::programs::TracePointContext;
use reprise_ebpf::{
    Socket, TracepointLayout,
    handshake::{OpenKey, flag, socket_source},
    kernel::{Fault, record},
    tcp::{STATE_CLOSE, STATE_CLOSE_WAIT, STATE_ESTABLISHED, STATE_LISTEN},
};

/// 1 where the call programs are attached; their tracepoints have the socket's address only.
#[unsafe(no_mangle)]
static BY_CALLS: u32 = 0;
#[unsafe(no_mangle)]
static SET_STATE: TracepointLayout = TracepointLayout::EMPTY;

/// Records the socket that the current thread used inside a drive of `ssl`, or right after one, as
/// the handshake's, from `source`, unless one from a stronger source than `weaker` is known.
#[inline(always)]
pub(crate) fn identify(
    tgid: u32,
    ssl: u64,
    skaddr: u64,
    weaker: u8,
    source: u8,
    socket: impl FnOnce() -> Result<Option<Socket>, Fault>,
) -> Result<(), Fault> {
    let key = OpenKey::new(tgid, ssl);
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    // SAFETY: a live LRU entry; this thread drives that object or has just driven it, nobody else
    // writes it.
    let open = unsafe { &mut *open };
    let known = open.socket_source;
    if known != u32::from(socket_source::NONE) && known != u32::from(weaker) {
        return Ok(());
    }
    let Some(socket) = socket()? else {
        return Ok(());
    };
    open.socket = socket;
    open.skaddr = skaddr;
    open.socket_source = u32::from(source);
    open.flags |= peer_closed(skaddr);
    HS_SOCKETS
        .insert(skaddr, key, 0)
        .map_err(|_| Fault::MapFull)
}

/// Returns [`flag::PEER_CLOSED`] where the peer's FIN had arrived before the socket was identified.
#[inline(always)]
pub(crate) fn peer_closed(skaddr: u64) -> u32 {
    match HS_TUPLES.get_ptr(skaddr) {
        // SAFETY: a live LRU entry; only the state program writes it, at its insertion.
        Some(tuple) if unsafe { (*tuple).cookie } != 0 => flag::PEER_CLOSED,
        _ => 0,
    }
}

/// Returns the connection of a kernel socket; `None` where it is not TCP's, or was established
/// before the probes were attached.
#[inline(always)]
pub(crate) fn established(skaddr: u64) -> Option<Socket> {
    let tuple = HS_TUPLES.get_ptr(skaddr)?;
    // SAFETY: a live LRU entry; only the state program writes it, at its insertion.
    let tuple = unsafe { &*tuple };
    // Word by word: a copy between two map values of one type would become `memmove`, which BPF
    // does not have.
    Some(Socket {
        local: [tuple.local[0], tuple.local[1]],
        remote: [tuple.remote[0], tuple.remote[1]],
        local_port: tuple.local_port,
        remote_port: tuple.remote_port,
        netns: tuple.netns,
        cookie: 0,
    })
}

pub(crate) fn try_state(ctx: &TracePointContext) -> Result<(), Fault> {
    let layout = record::layout(&SET_STATE);
    let state: u32 = record::word(ctx, layout.state)?;
    let old_state: u32 = record::word(ctx, layout.old_state)?;
    // An accepted socket is a copy of its listener, and leaves that state, too.
    if state == STATE_LISTEN || (state == STATE_CLOSE && old_state == STATE_LISTEN) {
        return listener::try_change(ctx, &layout, state);
    }
    if state != STATE_ESTABLISHED && state != STATE_CLOSE_WAIT && state != STATE_CLOSE {
        return Ok(());
    }
    let skaddr: u64 = record::word(ctx, layout.skaddr)?;
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let by_calls = unsafe { core::ptr::read_volatile(&raw const BY_CALLS) } != 0;
    // The kernel skips a tracepoint's programs while the CPU is inside another program or a system
    // call on a map (`trace_call_bpf`, kernel/trace/bpf_trace.c). A skipped beginning is added when
    // the peer closes.
    if state != STATE_CLOSE && by_calls {
        let mut socket = record::socket(ctx, &layout)?;
        socket.cookie = u64::from(state == STATE_CLOSE_WAIT);
        HS_TUPLES
            .insert(skaddr, socket, 0)
            .map_err(|_| Fault::MapFull)?;
    }
    if state == STATE_ESTABLISHED {
        return Ok(());
    }
    if state == STATE_CLOSE && by_calls {
        let _ = HS_TUPLES.remove(skaddr);
    }
    // SAFETY: a map value copied at once.
    let Some(key) = unsafe { HS_SOCKETS.get(skaddr) }.copied() else {
        return Ok(());
    };
    if state == STATE_CLOSE {
        let _ = HS_SOCKETS.remove(skaddr);
    }
    if let Some(open) = HS_OPEN.get_ptr_mut(key) {
        let bit = if state == STATE_CLOSE_WAIT {
            flag::PEER_CLOSED
        } else {
            flag::SOCKET_CLOSED
        };
        // SAFETY: a live LRU entry; a drive may set another bit at the same time, see
        // `try_send_call`.
        unsafe { (*open).flags |= bit };
    }
    Ok(())
}
