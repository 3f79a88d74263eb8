//! What the current thread receives and sends: inside a drive, that is the handshake's socket. Two ways to see it, of which the
//! agent attaches one.

use crate::{
    kernel::{Fault, now, record},
    maps::{Frame, HS_ACTIVE, HS_OPEN, HS_RECEIVED, HS_TASKS, Received, may_drive},
    socket::{established, found, open_key},
    user,
};
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use reprise_ebpf::{
    Socket, TracepointLayout,
    handshake::{flag, socket_source},
};

#[unsafe(no_mangle)]
static RECEIVE: TracepointLayout = TracepointLayout::EMPTY;

/// Fires for every receive of TCP data on the host: most leave at once.
pub(crate) fn try_receive(ctx: &TracePointContext) -> Result<(), Fault> {
    let Some(thread) = Thread::current() else {
        return Ok(());
    };
    let layout = record::layout(&RECEIVE);
    let skaddr = record::word(ctx, layout.skaddr)?;
    thread.receives(skaddr, true, || record::socket(ctx, &layout).map(Some))
}

/// Fires for every receive on the host, on sockets of all kinds and in vain too: most leave at once.
pub(crate) fn try_receive_call(ctx: &RawTracePointContext) -> Result<(), Fault> {
    let Some(thread) = Thread::current() else {
        return Ok(());
    };
    let (skaddr, result): (u64, i32) = (ctx.arg(0), ctx.arg(1));
    thread.receives(skaddr, result > 0, || Ok(established(skaddr)))
}

/// Fires for every send on the host: most leave at once.
pub(crate) fn try_send_call(ctx: &RawTracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if !may_drive(tgid) {
        return Ok(());
    }
    // SAFETY: a map value copied at once.
    let Some(Frame { ssl, .. }) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() else {
        return Ok(());
    };
    if let Some(open) = HS_OPEN.get_ptr_mut(open_key(tgid, ssl)) {
        // SAFETY: a live LRU entry; this thread is inside the drive of that object. `try_state` may set another bit at the same
        // time on another CPU, of which one can be lost: then the cause of a failed handshake is a less exact one.
        let open = unsafe { &mut *open };
        if open.reason != 0 {
            // Behind an error nothing is sent but the alert that tells it.
            open.flags |= flag::ALERTED;
        }
    }
    let skaddr: u64 = ctx.arg(0);
    // Only where nothing is known: a callback inside the drive of a memory-BIO program may send on any socket.
    found(tgid, ssl, skaddr, socket_source::NONE, || {
        Ok(established(skaddr))
    })
}

/// A thread of a process that drives handshakes.
struct Thread {
    pid_tgid: u64,
    /// As in [`HS_TASKS`].
    in_call: u32,
}

impl Thread {
    #[inline(always)]
    fn current() -> Option<Self> {
        let pid_tgid = user::pid_tgid();
        let tgid = (pid_tgid >> 32) as u32;
        if !may_drive(tgid) {
            return None;
        }
        // SAFETY: a map value copied at once.
        let in_call = unsafe { HS_TASKS.get(tgid) }.copied()?;
        Some(Self { pid_tgid, in_call })
    }

    /// It asked a socket for data, and got some where `got`.
    #[inline(always)]
    fn receives(
        &self,
        skaddr: u64,
        got: bool,
        socket: impl FnOnce() -> Result<Option<Socket>, Fault>,
    ) -> Result<(), Fault> {
        let tgid = (self.pid_tgid >> 32) as u32;
        // SAFETY: a map value copied at once.
        let Some(Frame { ssl, .. }) = unsafe { HS_ACTIVE.get(self.pid_tgid) }.copied() else {
            if self.in_call == 0
                && got
                && let Some(socket) = socket()?
            {
                let received = Received {
                    socket,
                    skaddr,
                    ssl: 0,
                };
                HS_RECEIVED
                    .insert(self.pid_tgid, received, 0)
                    .map_err(|_| Fault::MapFull)?;
            }
            return Ok(());
        };
        if !got {
            // As sure as a send: it may have been a callback's socket.
            return found(tgid, ssl, skaddr, socket_source::NONE, socket);
        }
        if self.in_call == 0 {
            HS_TASKS.insert(tgid, 1, 0).map_err(|_| Fault::MapFull)?;
        }
        if let Some(open) = HS_OPEN.get_ptr_mut(open_key(tgid, ssl)) {
            // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else writes it.
            unsafe { (*open).heard_ns = now() };
        }
        // Surer than anything else: it takes the place of a receive before the drive.
        found(tgid, ssl, skaddr, socket_source::BEFORE, socket)
    }
}
