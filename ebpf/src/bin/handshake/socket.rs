//! Which socket a handshake runs on, and whether the peer left while it was open.

use crate::{
    kernel::{Fault, record},
    maps::{HS_ACTIVE, HS_OPEN, HS_RECEIVED, HS_SOCKETS, HS_TASKS, Received},
    user,
};
use aya_ebpf::programs::TracePointContext;
use reprise_ebpf::{
    TracepointLayout,
    handshake::{OpenKey, flag, socket_source},
    tcp::{STATE_CLOSE, STATE_CLOSE_WAIT},
};

#[unsafe(no_mangle)]
static RECEIVE: TracepointLayout = TracepointLayout::EMPTY;
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
    let Some(ssl) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() else {
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
    let key = OpenKey {
        tgid,
        reserved: 0,
        ssl,
    };
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else writes it.
    let open = unsafe { &mut *open };
    if open.socket_source == u32::from(socket_source::IN_CALL) {
        return Ok(());
    }
    let layout = record::layout(&RECEIVE);
    open.socket = record::socket(ctx, &layout)?;
    open.skaddr = record::word(ctx, layout.skaddr)?;
    open.socket_source = u32::from(socket_source::IN_CALL);
    if in_call == 0 {
        HS_TASKS.insert(tgid, 1, 0).map_err(|_| Fault::MapFull)?;
    }
    HS_SOCKETS
        .insert(open.skaddr, key, 0)
        .map_err(|_| Fault::MapFull)
}

pub(crate) fn try_state(ctx: &TracePointContext) -> Result<(), Fault> {
    let layout = record::layout(&SET_STATE);
    let state: u32 = record::word(ctx, layout.state)?;
    if state != STATE_CLOSE_WAIT && state != STATE_CLOSE {
        return Ok(());
    }
    let skaddr: u64 = record::word(ctx, layout.skaddr)?;
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
        // SAFETY: a live LRU entry; the drive never writes `flags` while the handshake is open.
        unsafe { (*open).flags |= bit };
    }
    Ok(())
}
