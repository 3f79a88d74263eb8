//! BPF object of the `handshake` sensor: uprobes on the TLS library's state machine, and the tracepoints that tell which
//! socket a handshake runs on. Attached per library file by the agent; the attach cookie names the library.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

mod data;
mod drive;
#[path = "../../kernel/mod.rs"]
mod kernel;
mod maps;
mod phase;
mod session;
mod socket;
mod user;

use aya_ebpf::{
    EbpfContext,
    macros::{raw_tracepoint, tracepoint, uprobe},
    programs::{ProbeContext, RawTracePointContext, TracePointContext},
};
use kernel::Fault;

/// First instruction of `state_machine(SSL *s, int server)` (ssl/statem/statem.c), or of both its callers; of the functions in the
/// method tables, `int ssl3_accept(SSL *s)` (ssl/s3_srvr.c of 1.0.2); or of `int SSL_do_handshake(SSL *s)` (ssl/ssl_lib.c).
#[uprobe]
pub fn hs_enter(ctx: ProbeContext) -> u32 {
    finish(&ctx, drive::try_enter(&ctx))
}

/// The spot every way out of the same function passes once.
#[uprobe]
pub fn hs_exit(ctx: ProbeContext) -> u32 {
    finish(&ctx, drive::try_exit(&ctx))
}

/// `void SSL_free(SSL *s)` (ssl/ssl_lib.c).
#[uprobe]
pub fn hs_free(ctx: ProbeContext) -> u32 {
    finish(&ctx, drive::try_free(&ctx))
}

/// `void ERR_set_error(int lib, int reason, const char *fmt, ...)` and `void ERR_vset_error(int lib, int reason, const char *fmt,
/// va_list)` (crypto/err/err_blocks.c, 3.0 and later) or
/// `void ERR_put_error(int lib, int func, int reason, const char *file, int line)` (crypto/err/err.c, 1.1.1 and earlier);
/// the cookie says which argument is the reason. In the stubs by which libssl calls them; else in the latter two themselves.
#[uprobe]
pub fn hs_error(ctx: ProbeContext) -> u32 {
    finish(&ctx, drive::try_error(&ctx))
}

/// `void SSL_SESSION_free(SSL_SESSION *ss)` (ssl/ssl_sess.c): what a server looked up and turned down ends here.
#[uprobe]
pub fn hs_found(ctx: ProbeContext) -> u32 {
    finish(&ctx, session::try_found(&ctx))
}

/// `int SSL_CTX_remove_session(SSL_CTX *ctx, SSL_SESSION *c)` (ssl/ssl_sess.c).
#[uprobe]
pub fn hs_forget(ctx: ProbeContext) -> u32 {
    finish(&ctx, session::try_forget(&ctx))
}

/// `tcp:tcp_rcv_space_adjust(struct sock *sk)`: data was just copied to the current thread. Before 6.3.
#[tracepoint]
pub fn hs_receive(ctx: TracePointContext) -> u32 {
    finish(&ctx, data::try_receive(&ctx))
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)` (include/trace/events/sock.h, 6.3 and later): the current thread asked
/// a socket for data. Raw, as the next: without the record that would be written for each receive on the host. The socket's address
/// is a key and never followed.
#[raw_tracepoint]
pub fn hs_recv_call(ctx: RawTracePointContext) -> u32 {
    finish(&ctx, data::try_receive_call(&ctx))
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`: it sent some.
#[raw_tracepoint]
pub fn hs_send_call(ctx: RawTracePointContext) -> u32 {
    finish(&ctx, data::try_send_call(&ctx))
}

/// `sock:inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[tracepoint]
pub fn hs_state(ctx: TracePointContext) -> u32 {
    finish(&ctx, socket::try_state(&ctx))
}

/// `sched:sched_process_exec`: tells the agent where to look for a library.
#[tracepoint]
pub fn hs_exec(ctx: TracePointContext) -> u32 {
    finish(&ctx, drive::try_exec(&ctx))
}

fn finish(ctx: &impl EbpfContext, result: Result<(), Fault>) -> u32 {
    let Err(fault) = result else {
        return 0;
    };
    fault.log(ctx);
    if let Some(counter) = maps::HS_LOST.get_ptr_mut(fault as u32) {
        // SAFETY: a per-CPU slot; a lost increment under preemption would undercount losses by one, never corrupt.
        unsafe { *counter += 1 };
    }
    0
}
