//! BPF object of the canary: probes that count their hits and do nothing else. They are attached to functions of the agent
//! itself, in sacrificial processes of its own.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

#[expect(
    dead_code,
    reason = "only the panic handler and the licence are needed"
)]
#[path = "../kernel/mod.rs"]
mod kernel;

use aya_ebpf::{
    macros::{map, uprobe, uretprobe},
    maps::PerCpuArray,
    programs::{ProbeContext, RetProbeContext},
};
use reprise_ebpf::canary;

#[map]
static CN_HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(canary::COUNT, 0);

/// `extern "C" fn emulated(u64) -> u64` of the agent's `canary::perch`; so are the others.
#[uprobe]
pub fn cn_emulated(_: ProbeContext) -> u32 {
    hit(canary::EMULATED)
}

#[uprobe]
pub fn cn_stepped(_: ProbeContext) -> u32 {
    hit(canary::STEPPED)
}

#[uprobe]
pub fn cn_nop(_: ProbeContext) -> u32 {
    hit(canary::NOP)
}

#[uretprobe]
pub fn cn_return(_: RetProbeContext) -> u32 {
    hit(canary::RETURN)
}

fn hit(slot: u32) -> u32 {
    if let Some(counter) = CN_HITS.get_ptr_mut(slot) {
        // SAFETY: a per-CPU slot of one program, which one process at a time runs.
        unsafe { *counter += 1 };
    }
    0
}
