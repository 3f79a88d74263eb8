//! Processes that drive handshakes: their first drive, their `execve` and their end.

use crate::{
    maps::{
        FrameKey, HS_ACTIVE, HS_BLANK, HS_ERRORS, HS_EVENTS, HS_FRAMES, HS_FREEING, HS_RECEIVED,
        HS_RELEASED, HS_TASKS, HS_UNSENT, forget_driver, may_drive, record_driver,
    },
    open::NO_EXIST,
    user,
};
use aya_ebpf::programs::TracePointContext;
use reprise_ebpf::{
    ABSENT, Header, TracepointLayout,
    handshake::{EXEC, EXIT, ExecEvent, ExitEvent, Open, TlsProcess},
    kernel::{Fault, now, record},
};

#[unsafe(no_mangle)]
static PROCESS_EXEC: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static PROCESS_EXIT: TracepointLayout = TracepointLayout::EMPTY;

/// Returns the entry of a process that drives a handshake; inserts it at the first one.
pub(crate) fn find_or_insert(tgid: u32) -> Result<*mut TlsProcess, Fault> {
    if let Some(process) = HS_TASKS.get_ptr_mut(tgid) {
        return Ok(process);
    }
    record_driver(tgid)?;
    let zeroes: *const Open = HS_BLANK.get(0).ok_or(Fault::MapFull)?;
    // SAFETY: longer than the type, which is valid for zeroes.
    let new: &TlsProcess = unsafe { &*zeroes.cast() };
    // Fails where another thread of the process was faster.
    if HS_TASKS.insert(tgid, new, NO_EXIST).is_err() {
        forget_driver(tgid);
    }
    HS_TASKS.get_ptr_mut(tgid).ok_or(Fault::MapFull)
}

/// Runs in the process that executed a new program, whose other threads have ended.
pub(crate) fn try_exec(ctx: &TracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let mut open = 0;
    if may_drive(tgid) {
        forget_thread(pid_tgid);
        open = forget_process(tgid).unwrap_or(0);
    }
    let layout = record::layout(&PROCESS_EXEC);
    let event = ExecEvent {
        header: Header {
            kind: EXEC,
            size: size_of::<ExecEvent>() as u32,
            time_ns: now(),
        },
        tgid: record::word(ctx, layout.pid)?,
        open,
    };
    HS_EVENTS.send(ctx, &event)
}

/// Runs in each thread on the host that ends; nearly all runs return after one array lookup. Emits
/// one event per process that has driven a handshake.
pub(crate) fn try_exit(ctx: &TracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if !may_drive(tgid) {
        return Ok(());
    }
    forget_thread(pid_tgid);
    let layout = record::layout(&PROCESS_EXIT);
    // Before 6.16 the record does not say whether this is the last thread. The thread-group leader
    // stands for the process there, although it can end before other threads.
    let last = if layout.group_dead == ABSENT {
        pid_tgid as u32 == tgid
    } else {
        record::word::<u8>(ctx, layout.group_dead)? != 0
    };
    if !last {
        return Ok(());
    }
    let Some(open) = forget_process(tgid) else {
        return Ok(());
    };
    let event = ExitEvent {
        header: Header {
            kind: EXIT,
            size: size_of::<ExitEvent>() as u32,
            time_ns: now(),
        },
        tgid,
        open,
    };
    HS_EVENTS.send(ctx, &event)
}

fn forget_thread(pid_tgid: u64) {
    // SAFETY: a map value copied at once.
    if let Some(frame) = unsafe { HS_ACTIVE.get(pid_tgid) }.copied() {
        let _ = HS_FRAMES.remove(FrameKey {
            tgid: (pid_tgid >> 32) as u32,
            reserved: 0,
            sp: frame.sp,
        });
        let _ = HS_ACTIVE.remove(pid_tgid);
    }
    let _ = HS_RECEIVED.remove(pid_tgid);
    let _ = HS_FREEING.remove(pid_tgid);
    let _ = HS_ERRORS.remove(pid_tgid);
    let _ = HS_UNSENT.remove(pid_tgid);
}

/// Removes a process from the tables; returns its number of open handshakes, or `None` if it has
/// not driven a handshake.
fn forget_process(tgid: u32) -> Option<u32> {
    // SAFETY: a live LRU entry.
    let open = HS_TASKS
        .get_ptr(tgid)
        .map(|process| unsafe { (*process).open })?;
    // The removal succeeds once, so that two threads that end together emit one event.
    HS_TASKS.remove(tgid).ok()?;
    forget_driver(tgid);
    let _ = HS_RELEASED.remove(tgid);
    Some(open as u32)
}
