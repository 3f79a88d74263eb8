//! Start and end of processes.

use crate::{
    maps::{
        HS_ACTIVE, HS_ERRORS, HS_EVENTS, HS_FREEING, HS_RECEIVED, HS_TASKS, HS_UNSENT,
        forget_driver, may_drive,
    },
    user,
};
use aya_ebpf::programs::TracePointContext;
use reprise_ebpf::{
    ABSENT, Header, TracepointLayout,
    handshake::{EXEC, EXIT, ExecEvent, ExitEvent},
    kernel::{Fault, now, record},
};

#[unsafe(no_mangle)]
static PROCESS_EXEC: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static PROCESS_EXIT: TracepointLayout = TracepointLayout::EMPTY;

/// Runs in the process that executed a new program, whose other threads have ended.
pub(crate) fn try_exec(ctx: &TracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if may_drive(tgid) {
        forget_thread(pid_tgid);
        let _ = forget_process(tgid);
    }
    let layout = record::layout(&PROCESS_EXEC);
    let event = ExecEvent {
        header: Header {
            kind: EXEC,
            size: size_of::<ExecEvent>() as u32,
            time_ns: now(),
        },
        tgid: record::word(ctx, layout.pid)?,
        reserved: 0,
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
    if !last || !forget_process(tgid) {
        return Ok(());
    }
    let event = ExitEvent {
        header: Header {
            kind: EXIT,
            size: size_of::<ExitEvent>() as u32,
            time_ns: now(),
        },
        tgid,
        reserved: 0,
    };
    HS_EVENTS.send(ctx, &event)
}

fn forget_thread(pid_tgid: u64) {
    let _ = HS_ACTIVE.remove(pid_tgid);
    let _ = HS_RECEIVED.remove(pid_tgid);
    let _ = HS_FREEING.remove(pid_tgid);
    let _ = HS_ERRORS.remove(pid_tgid);
    let _ = HS_UNSENT.remove(pid_tgid);
}

/// Removes a process from the tables; returns whether it had driven a handshake.
fn forget_process(tgid: u32) -> bool {
    // The removal succeeds once, so that two threads that end together emit one event.
    let known = HS_TASKS.remove(tgid).is_ok();
    if known {
        forget_driver(tgid);
    }
    known
}
