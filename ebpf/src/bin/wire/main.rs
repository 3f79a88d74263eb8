//! BPF object of the `hello` sensor: the first flight of each TLS connection, from the packets of its socket. Attached once,
//! at the root of the cgroup v2 hierarchy, for both directions. Ingress runs in softirq context, so nothing here looks at
//! the current task. Never changes and never drops a packet.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

mod evidence;
mod flight;
#[expect(dead_code, reason = "no tracepoint record is read here")]
#[path = "../../kernel/mod.rs"]
mod kernel;
mod maps;
mod packet;
mod socket;
mod tell;

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};
use kernel::Fault;
use reprise_ebpf::wire::direction;

/// "Let it pass" (`BPF_PROG_TYPE_CGROUP_SKB`): whatever happens here, the packet is not our business.
const PASS: i32 = 1;

/// `__cgroup_bpf_run_filter_skb(sk, skb, CGROUP_INET_INGRESS)` (kernel/bpf/cgroup.c), from `sk_filter_trim_cap`: the packet
/// found its socket, which has not seen it yet.
#[cgroup_skb(ingress)]
pub fn wire_in(ctx: SkBuffContext) -> i32 {
    pass(&ctx, direction::IN)
}

/// The same for `CGROUP_INET_EGRESS`, from `ip_finish_output`: the packet leaves its socket.
#[cgroup_skb(egress)]
pub fn wire_out(ctx: SkBuffContext) -> i32 {
    pass(&ctx, direction::OUT)
}

/// Every packet of every connection of the host: nearly all leave here, having touched one page of code and one value.
#[inline(always)]
fn pass(ctx: &SkBuffContext, way: u8) -> i32 {
    let Some(seen) = socket::open(ctx) else {
        return PASS;
    };
    note(ctx, socket::try_packet(ctx, way, seen));
    PASS
}

/// Counts what went wrong, if anything. Called for every result: a test ahead of the call makes the verifier walk `wire_in` twice as far.
#[inline(never)]
fn note(ctx: &SkBuffContext, result: Result<(), Fault>) {
    let Err(fault) = result else {
        return;
    };
    fault.log(ctx);
    if let Some(counter) = maps::WIRE_LOST.get_ptr_mut(fault as u32) {
        // SAFETY: a per-CPU slot; a lost increment under interruption would undercount losses by one, never corrupt.
        unsafe { *counter += 1 };
    }
}
