//! Processes that drive handshakes: their first drive, their `execve` and their end.

use crate::{
    maps::{
        FrameKey, HS_ACTIVE, HS_BLANK, HS_ERRORS, HS_EVENTS, HS_FRAMES, HS_FREEING, HS_RECEIVED,
        HS_RELEASED, HS_TASKS, HS_UNSENT, forget_driver, may_drive, record_driver,
    },
    open::NO_EXIST,
    scope, user,
};
use aya_ebpf::{helpers::generated, programs::RawTracePointContext};
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    Header,
    handshake::{EXEC, EXEC_OUTSIDE, EXIT, ExecEvent, ExitEvent, Open, TlsProcess},
    kernel::{Fault, now},
};

/// Not 0 where the tracepoint says whether a thread is the last of its process (6.16). As for
/// `HAS_COOKIES`, only where the verifier skips the excluded branch: the kernel refuses to attach a
/// program that reads an argument which the tracepoint does not have.
#[cfg(feature = "ring")]
#[unsafe(no_mangle)]
static HAS_GROUP_DEAD: u32 = 0;

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

/// Whether this process receives inside drives (socket BIOs).
pub(crate) fn receives_in_call(tgid: u32) -> bool {
    let process = HS_TASKS.get_ptr(tgid);
    // SAFETY: a live LRU entry.
    process.is_some_and(|process| unsafe { (*process).in_call } != 0)
}

/// Runs in the process that executed a new program, whose other threads have ended.
pub(crate) fn try_exec(ctx: &RawTracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let mut open = None;
    if may_drive(tgid) {
        // A thread that executes a program gets the ID of the first thread.
        let old: u32 = ctx.arg(1);
        forget_thread(u64::from(tgid) << 32 | u64::from(old));
        forget_thread(pid_tgid);
        open = forget_process(tgid);
    }
    let kind = if open.is_none() && scope::excludes_current_task() {
        EXEC_OUTSIDE
    } else {
        EXEC
    };
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written, and
    // there is no padding.
    let fill = |event: *mut ExecEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind,
            size: size_of::<ExecEvent>() as u32,
            time_ns: now(),
        });
        addr_of_mut!((*event).tgid).write(tgid);
        addr_of_mut!((*event).open).write(open.unwrap_or(0));
        // The helper writes all of it, or zeroes it.
        generated::bpf_get_current_comm(addr_of_mut!((*event).comm).cast(), 16);
    };
    // SAFETY: `fill` writes every byte, see above.
    unsafe { HS_EVENTS.send_filled(ctx, fill) }
}

/// Runs in each thread on the host that ends; nearly all runs return after one array lookup. Emits
/// one event per process that has driven a handshake.
pub(crate) fn try_exit(ctx: &RawTracePointContext) -> Result<(), Fault> {
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if !may_drive(tgid) {
        return Ok(());
    }
    forget_thread(pid_tgid);
    if !is_last(ctx, pid_tgid) {
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

/// Whether the thread is the last of its process. Before 6.16 the tracepoint does not say so. The
/// thread-group leader stands for the process there, although it can end before other threads.
#[inline(always)]
fn is_last(ctx: &RawTracePointContext, pid_tgid: u64) -> bool {
    #[cfg(feature = "ring")]
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    if unsafe { core::ptr::read_volatile(&raw const HAS_GROUP_DEAD) } != 0 {
        return ctx.arg::<u64>(1) as u8 != 0;
    }
    let _ = ctx;
    pid_tgid as u32 == (pid_tgid >> 32) as u32
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
    let process = HS_TASKS.get_ptr(tgid)?;
    // SAFETY: a live LRU entry.
    let open = unsafe { (*process).open };
    // The removal succeeds once, so that two threads that end together emit one event.
    HS_TASKS.remove(tgid).ok()?;
    forget_driver(tgid);
    let _ = HS_RELEASED.remove(tgid);
    Some(open as u32)
}
