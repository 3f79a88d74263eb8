//! BPF object of the canary: probes that count their hits and do nothing else. The agent attaches
//! them to functions of its own executable, in sacrificial child processes.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

use aya_ebpf::{
    macros::{map, uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use reprise_ebpf::{canary, kernel::counters::Counters};

/// Hits per probe.
#[map]
static CN_HITS: Counters = Counters::new(canary::COUNT);

/// `extern "C" fn emulated(u64) -> u64` of the agent's canary.
#[uprobe]
pub fn cn_emulated(_: ProbeContext) -> u32 {
    hit(canary::EMULATED)
}

/// `extern "C" fn stepped(u64) -> u64` of the agent's canary.
#[uprobe]
pub fn cn_stepped(_: ProbeContext) -> u32 {
    hit(canary::STEPPED)
}

/// `extern "C" fn nop(u64) -> u64` of the agent's canary.
#[uprobe]
pub fn cn_nop(_: ProbeContext) -> u32 {
    hit(canary::NOP)
}

/// Return of `extern "C" fn returns(u64) -> u64` of the agent's canary.
#[uretprobe]
pub fn cn_return(_: RetProbeContext) -> u32 {
    hit(canary::RETURN)
}

fn hit(index: u32) -> u32 {
    CN_HITS.increment(index);
    0
}
