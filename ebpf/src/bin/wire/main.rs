//! BPF object of the `wire` sensor: the first flights of each TLS connection, from the packets of
//! its socket. Attached once, at the root of the cgroup v2 hierarchy, for both directions. Ingress
//! runs in softirq context, so no program here uses the current task. Never changes and never drops
//! a packet.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

mod emit;
mod evidence;
mod flight;
mod maps;
mod packet;
mod search;
mod socket;

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};
use reprise_ebpf::{kernel::Fault, wire::direction};

/// "Pass the packet" (`BPF_PROG_TYPE_CGROUP_SKB`), returned whatever happens.
const PASS: i32 = 1;

/// `__cgroup_bpf_run_filter_skb(sk, skb, CGROUP_INET_INGRESS)` (kernel/bpf/cgroup.c), from
/// `sk_filter_trim_cap`: the packet's socket is known and has not processed it yet.
#[cgroup_skb(ingress)]
pub fn wire_in(ctx: SkBuffContext) -> i32 {
    observe(&ctx, direction::IN)
}

/// The same for `CGROUP_INET_EGRESS`, from `ip_finish_output`: the packet leaves its socket.
#[cgroup_skb(egress)]
pub fn wire_out(ctx: SkBuffContext) -> i32 {
    observe(&ctx, direction::OUT)
}

/// Runs for every packet on the host. Nearly all return at the first test, after one load.
#[inline(always)]
fn observe(ctx: &SkBuffContext, way: u8) -> i32 {
    let Some(observed) = socket::lookup(ctx) else {
        return PASS;
    };
    record(ctx, socket::try_packet(ctx, way, observed));
    PASS
}

/// Counts a fault. Called for every result: a test before the call doubles the instructions that
/// the verifier processes for `wire_in`.
#[inline(never)]
fn record(ctx: &SkBuffContext, result: Result<(), Fault>) {
    maps::WIRE_LOST.record(ctx, result);
}
