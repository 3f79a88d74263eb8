//! Receives and sends of the current thread, which inside a drive identify the handshake's socket.
//! The agent attaches either `hs_receive` or the two call programs.

use crate::{
    maps::{Frame, HS_ACTIVE, HS_OPEN, HS_RECEIVED, HS_TASKS, HS_UNSENT, Received, may_drive},
    socket::{established, identify},
    user,
};
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use reprise_ebpf::{
    Socket, TracepointLayout,
    handshake::{OpenKey, flag, socket_source},
    kernel::{Fault, now, record},
};

#[unsafe(no_mangle)]
static RECEIVE: TracepointLayout = TracepointLayout::EMPTY;

/// Runs for every receive of TCP data on the host; most runs return at once.
pub(crate) fn try_receive(ctx: &TracePointContext) -> Result<(), Fault> {
    let Some(thread) = Thread::current() else {
        return Ok(());
    };
    let layout = record::layout(&RECEIVE);
    let skaddr = record::word(ctx, layout.skaddr)?;
    thread.receives(skaddr, true, || record::socket(ctx, &layout).map(Some))
}

/// Runs for every receive on the host, on sockets of all kinds, also where it returned no data;
/// most runs return at once.
pub(crate) fn try_receive_call(ctx: &RawTracePointContext) -> Result<(), Fault> {
    let Some(thread) = Thread::current() else {
        return Ok(());
    };
    let (skaddr, result): (u64, i32) = (ctx.arg(0), ctx.arg(1));
    thread.receives(skaddr, result > 0, || Ok(established(skaddr)))
}

/// Runs for every send on the host; most runs return at once.
pub(crate) fn try_send_call(ctx: &RawTracePointContext) -> Result<(), Fault> {
    use socket_source::{BEFORE, IN_CALL, NONE};
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if !may_drive(tgid) {
        return Ok(());
    }
    let skaddr: u64 = ctx.arg(0);
    let socket = || Ok(established(skaddr));
    // SAFETY: a map value copied at once.
    let Some(Frame { ssl, .. }) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() else {
        // SAFETY: a map value copied at once.
        let Some(ssl) = unsafe { HS_UNSENT.get(pid_tgid) }.copied() else {
            return Ok(());
        };
        let _ = HS_UNSENT.remove(pid_tgid);
        return identify(tgid, ssl, skaddr, NONE, BEFORE, socket);
    };
    if let Some(open) = HS_OPEN.get_ptr_mut(OpenKey::new(tgid, ssl)) {
        // SAFETY: a live LRU entry; this thread is inside the drive of that object. `try_state` may
        // set another bit at the same time on another CPU, and one of the two can be lost: the
        // cause of a failed handshake is then less exact.
        let open = unsafe { &mut *open };
        if open.reason != 0 {
            // After an error the library sends only the alert for it.
            open.flags |= flag::ALERTED;
        }
    }
    // Weakest evidence: a callback inside the drive of a memory-BIO program may send on any socket.
    identify(tgid, ssl, skaddr, NONE, IN_CALL, socket)
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

    /// Processes a receive of this thread; `got` is whether it returned data.
    #[inline(always)]
    fn receives(
        &self,
        skaddr: u64,
        got: bool,
        socket: impl FnOnce() -> Result<Option<Socket>, Fault>,
    ) -> Result<(), Fault> {
        use socket_source::{BEFORE, IN_CALL, NONE};
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
            // As weak as a send: it may be a callback's socket.
            return identify(tgid, ssl, skaddr, NONE, IN_CALL, socket);
        }
        if self.in_call == 0 {
            HS_TASKS.insert(tgid, 1, 0).map_err(|_| Fault::MapFull)?;
        }
        if let Some(open) = HS_OPEN.get_ptr_mut(OpenKey::new(tgid, ssl)) {
            // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else
            // writes it.
            unsafe { (*open).heard_ns = now() };
        }
        // The strongest evidence: it replaces a receive before the drive.
        identify(tgid, ssl, skaddr, BEFORE, IN_CALL, socket)
    }
}
