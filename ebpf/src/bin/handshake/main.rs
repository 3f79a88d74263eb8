//! BPF object of the `handshake` sensor: uprobes on the TLS library's state machine, and the
//! tracepoints that identify a handshake's socket. The agent attaches the uprobes per library file;
//! the attach cookie names the library.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

mod completed;
mod data;
mod drive;
mod error;
mod listener;
mod maps;
mod open;
mod phase;
mod process;
mod scope;
mod session;
mod socket;
mod user;

use aya_ebpf::{
    EbpfContext,
    macros::{raw_tracepoint, tracepoint, uprobe},
    programs::{ProbeContext, RawTracePointContext, TracePointContext},
};
use reprise_ebpf::kernel::Fault;

/// First instruction of `static int state_machine(SSL *s, int server)` (ssl/statem/statem.c), or of
/// both its callers; of the functions in the method tables, `int ssl3_accept(SSL *s)`
/// (ssl/s3_srvr.c of 1.0.2); or of `int SSL_do_handshake(SSL *s)` (ssl/ssl_lib.c).
#[uprobe]
pub fn hs_enter(ctx: ProbeContext) -> u32 {
    if scope::excludes_current_task() {
        return 0;
    }
    finish(&ctx, drive::try_enter(&ctx))
}

/// The instruction that every exit path of the same function passes once.
#[uprobe]
pub fn hs_exit(ctx: ProbeContext) -> u32 {
    finish(&ctx, drive::try_exit(&ctx))
}

/// `void SSL_free(SSL *s)` (ssl/ssl_lib.c).
#[uprobe]
pub fn hs_free(ctx: ProbeContext) -> u32 {
    if scope::excludes_current_task() {
        return 0;
    }
    finish(&ctx, drive::try_free(&ctx))
}

/// `void ERR_set_error(int lib, int reason, const char *fmt, ...)` and `void ERR_vset_error(int
/// lib, int reason, const char *fmt, va_list)` (crypto/err/err_blocks.c, 3.0 and later) or `void
/// ERR_put_error(int lib, int func, int reason, const char *file, int line)` (crypto/err/err.c,
/// 1.1.1 and earlier); the cookie names the argument that is the reason. Probed in libssl's stubs
/// for them, or else in the latter two functions themselves.
#[uprobe]
pub fn hs_error(ctx: ProbeContext) -> u32 {
    if scope::excludes_current_task() {
        return 0;
    }
    finish(&ctx, error::try_error(&ctx))
}

/// `void SSL_SESSION_free(SSL_SESSION *ss)` (ssl/ssl_sess.c), called for a session that a server
/// looked up and rejected.
#[uprobe]
pub fn hs_rejected(ctx: ProbeContext) -> u32 {
    finish(&ctx, session::try_rejected(&ctx))
}

/// `int SSL_CTX_remove_session(SSL_CTX *ctx, SSL_SESSION *c)` (ssl/ssl_sess.c).
#[uprobe]
pub fn hs_forget(ctx: ProbeContext) -> u32 {
    if scope::excludes_current_task() {
        return 0;
    }
    finish(&ctx, session::try_forget(&ctx))
}

/// `tcp:tcp_rcv_space_adjust(struct sock *sk)`: data was just copied to the current thread. Used
/// before 6.3.
#[tracepoint]
pub fn hs_receive(ctx: TracePointContext) -> u32 {
    finish(&ctx, data::try_receive(&ctx))
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)` (include/trace/events/sock.h, 6.3 and
/// later): the current thread asked a socket for data. A raw tracepoint, so that the kernel does
/// not write a record for each receive on the host. The socket's address is a key and never
/// dereferenced.
#[raw_tracepoint]
pub fn hs_recv_call(ctx: RawTracePointContext) -> u32 {
    finish(&ctx, data::try_receive_call(&ctx))
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`: the current thread sent data.
#[raw_tracepoint]
pub fn hs_send_call(ctx: RawTracePointContext) -> u32 {
    finish(&ctx, data::try_send_call(&ctx))
}

/// `sock:inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[tracepoint]
pub fn hs_state(ctx: TracePointContext) -> u32 {
    finish(&ctx, socket::try_state(&ctx))
}

/// `sched:sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
/// (include/trace/events/sched.h): the agent looks for libraries in the process. Raw, since the
/// kernel skips the programs of other tracepoints while the CPU is inside a system call on a map.
#[raw_tracepoint]
pub fn hs_exec(ctx: RawTracePointContext) -> u32 {
    finish(&ctx, process::try_exec(&ctx))
}

/// `sched:sched_process_exit(struct task_struct *p)`, from 6.16 on with `bool group_dead`
/// (include/trace/events/sched.h). Raw, as above.
#[raw_tracepoint]
pub fn hs_proc_exit(ctx: RawTracePointContext) -> u32 {
    finish(&ctx, process::try_exit(&ctx))
}

fn finish(ctx: &impl EbpfContext, result: Result<(), Fault>) -> u32 {
    maps::HS_LOST.record(ctx, result);
    0
}
