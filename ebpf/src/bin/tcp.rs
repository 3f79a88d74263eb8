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
    programs::TracePointContext,
};
use reprise_ebpf::{
    Header, TracepointLayout,
    kernel::{Fault, counters::Counters, events::Events, now, record, scope},
    tcp,
};

/// TCP events, to the agent.
#[map]
static TCP_EVENTS: Events = Events::with_byte_size(256 * 1024);
/// Lost events by [`Fault`]. Read by the agent.
#[map]
static TCP_LOST: Counters = Counters::of_faults();

#[unsafe(no_mangle)]
static RETRANSMIT: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static SYNACK: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static RESET_RX: TracepointLayout = TracepointLayout::EMPTY;
#[unsafe(no_mangle)]
static RESET_TX: TracepointLayout = TracepointLayout::EMPTY;

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
    let event = tcp::TcpEvent {
        header: Header {
            kind,
            size: size_of::<tcp::TcpEvent>() as u32,
            time_ns: now(),
        },
        state: record::word(ctx, layout.state)?,
        reserved: 0,
        socket: record::socket(ctx, &layout)?,
    };
    TCP_EVENTS.send(ctx, &event)
}

fn finish(ctx: &TracePointContext, result: Result<(), Fault>) -> u32 {
    TCP_LOST.record(ctx, result);
    0
}
