//! Which socket a handshake runs on, and whether the peer left while it was open.

use crate::{
    kernel::{Fault, now, record},
    maps::{Frame, HS_ACTIVE, HS_OPEN, HS_RECEIVED, HS_SOCKETS, HS_TASKS, HS_TUPLES, Received},
    user,
};
use aya_ebpf::programs::TracePointContext;
use reprise_ebpf::{
    ABSENT, Socket, TracepointLayout,
    handshake::{OpenKey, flag, socket_source},
    tcp::{STATE_CLOSE, STATE_CLOSE_WAIT, STATE_ESTABLISHED},
};

#[unsafe(no_mangle)]
static RECEIVE: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static SEND: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static SET_STATE: TracepointLayout = TracepointLayout::EMPTY;

/// Fires for every receive on the host: most leave after two look-ups.
pub(crate) fn try_receive(ctx: &TracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    // SAFETY: a map value copied at once.
    let Some(in_call) = unsafe { HS_TASKS.get(tgid) }.copied() else {
        return Ok(());
    };
    // SAFETY: a map value copied at once.
    let Some(Frame { ssl, .. }) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() else {
        if in_call == 0 {
            let layout = record::layout(&RECEIVE);
            let received = Received {
                socket: record::socket(ctx, &layout)?,
                skaddr: record::word(ctx, layout.skaddr)?,
                ssl: 0,
            };
            HS_RECEIVED
                .insert(pid_tgid, received, 0)
                .map_err(|_| Fault::MapFull)?;
        }
        return Ok(());
    };
    if in_call == 0 {
        HS_TASKS.insert(tgid, 1, 0).map_err(|_| Fault::MapFull)?;
    }
    let layout = record::layout(&RECEIVE);
    let skaddr = record::word(ctx, layout.skaddr)?;
    if let Some(open) = HS_OPEN.get_ptr_mut(open_key(tgid, ssl)) {
        // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else writes it.
        unsafe { (*open).heard_ns = now() };
    }
    // Surer than anything else: it takes the place of a receive before the drive.
    found(tgid, ssl, skaddr, socket_source::BEFORE, || {
        record::socket(ctx, &layout)
    })
}

/// Fires for every send on the host: all but the first of a handshake leave after one or two look-ups.
pub(crate) fn try_send(ctx: &TracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    // SAFETY: a map value copied at once.
    let Some(Frame { ssl, .. }) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() else {
        return Ok(());
    };
    let tgid = (pid_tgid >> 32) as u32;
    if let Some(open) = HS_OPEN.get_ptr_mut(open_key(tgid, ssl)) {
        // SAFETY: a live LRU entry; this thread is inside the drive of that object. `try_state` may set another bit at the same
        // time on another CPU, of which one can be lost: then the cause of a failed handshake is a less exact one.
        let open = unsafe { &mut *open };
        if open.reason != 0 {
            // Behind an error nothing is sent but the alert that tells it.
            open.flags |= flag::ALERTED;
        }
    }
    let skaddr: u64 = record::word(ctx, record::layout(&SEND).skaddr)?;
    let Some(tuple) = HS_TUPLES.get_ptr(skaddr) else {
        // No TCP socket, or one that was established before the probes were attached.
        return Ok(());
    };
    // Only where nothing is known: a callback inside the drive of a memory-BIO program may send on any socket.
    found(tgid, ssl, skaddr, socket_source::NONE, || {
        // SAFETY: a live LRU entry; only the state program writes it, at its insertion.
        let tuple = unsafe { &*tuple };
        // Word by word: two map values of one type would be copied by `memmove`, which BPF has not.
        Ok(Socket {
            local: [tuple.local[0], tuple.local[1]],
            remote: [tuple.remote[0], tuple.remote[1]],
            local_port: tuple.local_port,
            remote_port: tuple.remote_port,
            reserved: 0,
            cookie: tuple.cookie,
        })
    })
}

#[inline(always)]
const fn open_key(tgid: u32, ssl: u64) -> OpenKey {
    OpenKey {
        tgid,
        reserved: 0,
        ssl,
    }
}

/// The current thread moved data on a socket inside a drive of `ssl`: this is the handshake's socket, unless one from a source
/// beyond `weaker` is known.
#[inline(always)]
fn found(
    tgid: u32,
    ssl: u64,
    skaddr: u64,
    weaker: u8,
    socket: impl FnOnce() -> Result<Socket, Fault>,
) -> Result<(), Fault> {
    let key = open_key(tgid, ssl);
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else writes it.
    let open = unsafe { &mut *open };
    let known = open.socket_source;
    if known != u32::from(socket_source::NONE) && known != u32::from(weaker) {
        return Ok(());
    }
    open.socket = socket()?;
    open.skaddr = skaddr;
    open.socket_source = u32::from(socket_source::IN_CALL);
    HS_SOCKETS
        .insert(skaddr, key, 0)
        .map_err(|_| Fault::MapFull)
}

pub(crate) fn try_state(ctx: &TracePointContext) -> Result<(), Fault> {
    let layout = record::layout(&SET_STATE);
    let state: u32 = record::word(ctx, layout.state)?;
    if state != STATE_ESTABLISHED && state != STATE_CLOSE_WAIT && state != STATE_CLOSE {
        return Ok(());
    }
    let skaddr: u64 = record::word(ctx, layout.skaddr)?;
    let sends = record::layout(&SEND).skaddr != ABSENT;
    if state == STATE_ESTABLISHED {
        if sends {
            HS_TUPLES
                .insert(skaddr, record::socket(ctx, &layout)?, 0)
                .map_err(|_| Fault::MapFull)?;
        }
        return Ok(());
    }
    if state == STATE_CLOSE && sends {
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
        // SAFETY: a live LRU entry; a drive may set another bit at the same time, see `try_send`.
        unsafe { (*open).flags |= bit };
    }
    Ok(())
}
