//! BPF object of the `tcp` sensor: retransmissions and resets of every TCP socket. Retransmissions
//! run in timer or softirq context, so no program here uses the current task.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::Array,
    programs::TracePointContext,
};
use reprise_ebpf::{
    ABSENT, Header, Socket, TracepointLayout,
    kernel::{Fault, counters::Counters, events::Events, memory, now, record, scope},
    tcp,
};

/// TCP events, to the agent.
#[map]
static TCP_EVENTS: Events = Events::with_byte_size(256 * 1024);
/// Lost events by [`Fault`]. Read by the agent.
#[map]
static TCP_LOST: Counters = Counters::of_faults();

/// Ports of TLS servers, one bit each: local ones, then remote ones. Written by the agent.
#[map]
static TCP_PORTS: Array<u64> = Array::with_max_entries(tcp::PORT_WORDS, 0);

#[unsafe(no_mangle)]
static RETRANSMIT: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static SYNACK: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static RESET_RX: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static RESET_TX: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static CLOSE: TracepointLayout = TracepointLayout::EMPTY;
/// Offset of `sk_err` in `struct sock`, from the kernel's BTF.
#[unsafe(no_mangle)]
static SOCKET_ERROR: u32 = ABSENT;

/// `tcp:tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb)`, from 6.17 on with
/// `int err` (include/trace/events/tcp.h).
#[tracepoint]
pub fn tcp_retransmit(ctx: TracePointContext) -> u32 {
    finish(&ctx, try_emit(&ctx, &RETRANSMIT, tcp::RETRANSMIT))
}

/// `tcp:tcp_retransmit_synack(const struct sock *sk, const struct request_sock *req)`; `sk` is the
/// listener.
#[tracepoint]
pub fn tcp_synack(ctx: TracePointContext) -> u32 {
    finish(&ctx, try_emit(&ctx, &SYNACK, tcp::RETRANSMIT_SYNACK))
}

/// `tcp:tcp_receive_reset(struct sock *sk)`.
#[tracepoint]
pub fn tcp_reset_rx(ctx: TracePointContext) -> u32 {
    finish(&ctx, try_emit(&ctx, &RESET_RX, tcp::RESET_RECEIVED))
}

/// `tcp:tcp_send_reset(const struct sock *sk, const struct sk_buff *skb)`, from 6.10 on with
/// `enum sk_rst_reason reason`.
#[tracepoint]
pub fn tcp_reset_tx(ctx: TracePointContext) -> u32 {
    finish(&ctx, try_emit(&ctx, &RESET_TX, tcp::RESET_SENT))
}

/// `sock:inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[tracepoint]
pub fn tcp_close(ctx: TracePointContext) -> u32 {
    finish(&ctx, try_close(&ctx))
}

/// Reports the end of an established connection with a port of a TLS server.
fn try_close(ctx: &TracePointContext) -> Result<(), Fault> {
    let layout = record::layout(&CLOSE);
    if record::word::<u32>(ctx, layout.state)? != tcp::STATE_CLOSE {
        return Ok(());
    }
    let state: u32 = record::word(ctx, layout.old_state)?;
    let was_established = matches!(
        state,
        tcp::STATE_ESTABLISHED
            | tcp::STATE_FIN_WAIT1
            | tcp::STATE_FIN_WAIT2
            | tcp::STATE_CLOSE_WAIT
            | tcp::STATE_LAST_ACK
            | tcp::STATE_CLOSING
    );
    let local: u16 = record::word(ctx, layout.sport)?;
    let remote: u16 = record::word(ctx, layout.dport)?;
    if !was_established || !(serves_tls(0, local) || serves_tls(tcp::PORT_WORDS / 2, remote)) {
        return Ok(());
    }
    let skaddr: u64 = record::word(ctx, layout.skaddr)?;
    if scope::excludes_socket(skaddr) {
        return Ok(());
    }
    send(
        ctx,
        tcp::CLOSED,
        state,
        error(skaddr),
        record::socket(ctx, &layout)?,
    )
}

/// Whether the bit of a port is set in the words from `first` on.
fn serves_tls(first: u32, port: u16) -> bool {
    let word = TCP_PORTS.get(first + u32::from(port) / 64);
    word.is_some_and(|word| word >> (port % 64) & 1 != 0)
}

/// Error of a kernel socket.
fn error(skaddr: u64) -> u32 {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let offset = unsafe { core::ptr::read_volatile(&raw const SOCKET_ERROR) };
    if offset == ABSENT || skaddr == 0 {
        return tcp::NO_ERROR_READ;
    }
    memory::read(skaddr + u64::from(offset)).unwrap_or(tcp::NO_ERROR_READ)
}

fn try_emit(
    ctx: &TracePointContext,
    global: &'static TracepointLayout,
    kind: u32,
) -> Result<(), Fault> {
    let layout = record::layout(global);
    let err: i32 = record::word(ctx, layout.err)?;
    if err != 0 {
        return Ok(());
    }
    if scope::excludes_socket(record::word(ctx, layout.skaddr)?) {
        return Ok(());
    }
    let state = record::word(ctx, layout.state)?;
    send(ctx, kind, state, 0, record::socket(ctx, &layout)?)
}

fn send(
    ctx: &TracePointContext,
    kind: u32,
    state: u32,
    error: u32,
    socket: Socket,
) -> Result<(), Fault> {
    let event = tcp::TcpEvent {
        header: Header {
            kind,
            size: size_of::<tcp::TcpEvent>() as u32,
            time_ns: now(),
        },
        state,
        error,
        socket,
    };
    TCP_EVENTS.send(ctx, &event)
}

fn finish(ctx: &TracePointContext, result: Result<(), Fault>) -> u32 {
    TCP_LOST.record(ctx, result);
    0
}
