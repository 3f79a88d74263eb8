//! BPF object that reports the cgroups of the v2 hierarchy as they are created and removed, so that
//! the agent knows the path behind the ID in an event, even of a container that lives for a moment.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "aya's program macros want public functions and emit undocumented ones"
)]

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str,
    macros::{map, raw_tracepoint},
    programs::RawTracePointContext,
};
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    Header,
    cgroup::{CREATED, CgroupEvent, CgroupLayout, MAX_PATH, REMOVED},
    kernel::{Fault, counters::Counters, events::Events, memory, now},
};

/// Cgroup events, to the agent. A buffer of their own: whoever may create cgroups could otherwise
/// displace the events of handshakes.
#[map]
static CG_EVENTS: Events = Events::with_byte_size(256 * 1024);
/// Lost events by [`Fault`]. Read by the agent.
#[map]
static CG_LOST: Counters = Counters::of_faults();

#[unsafe(no_mangle)]
static CGROUP: CgroupLayout = CgroupLayout::UNKNOWN;

/// `cgroup:cgroup_mkdir(struct cgroup *cgrp, const char *path)` (include/trace/events/cgroup.h):
/// no task is in the cgroup yet.
#[raw_tracepoint]
pub fn cg_mkdir(ctx: RawTracePointContext) -> u32 {
    CG_LOST.record(&ctx, try_report(&ctx, CREATED));
    0
}

/// `cgroup:cgroup_rmdir(struct cgroup *cgrp, const char *path)`.
#[raw_tracepoint]
pub fn cg_rmdir(ctx: RawTracePointContext) -> u32 {
    CG_LOST.record(&ctx, try_report(&ctx, REMOVED));
    0
}

#[inline(always)]
fn try_report(ctx: &RawTracePointContext, kind: u32) -> Result<(), Fault> {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let layout = unsafe { core::ptr::read_volatile(&raw const CGROUP) };
    let cgroup: u64 = ctx.arg(0);
    let path: u64 = ctx.arg(1);
    let root: u64 = memory::read(cgroup + u64::from(layout.root)).ok_or(Fault::Read)?;
    let hierarchy: u32 = memory::read(root + u64::from(layout.hierarchy)).ok_or(Fault::Read)?;
    if hierarchy != 0 {
        return Ok(());
    }
    let node: u64 = memory::read(cgroup + u64::from(layout.node)).ok_or(Fault::Read)?;
    let id: u64 = memory::read(node + u64::from(layout.id)).ok_or(Fault::Read)?;
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written, and
    // there is no padding. The path is zeroed first, so that no byte of an older event remains
    // behind its end; volatile, since a zeroed array would become `memset`, which BPF does not
    // have. The helper checks the address itself.
    let fill = |event: *mut CgroupEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind,
            size: size_of::<CgroupEvent>() as u32,
            time_ns: now(),
        });
        addr_of_mut!((*event).id).write(id);
        let bytes: *mut u64 = addr_of_mut!((*event).path).cast();
        for word in 0..MAX_PATH / 8 {
            bytes.add(word).write_volatile(0);
        }
        let length = bpf_probe_read_kernel_str(bytes.cast(), MAX_PATH as u32, path as *const _);
        let length = if length > 0 { length as u32 - 1 } else { 0 };
        addr_of_mut!((*event).length).write(length);
        addr_of_mut!((*event).reserved).write(0);
    };
    // SAFETY: `fill` writes every byte, see above.
    unsafe { CG_EVENTS.send_filled(ctx, fill) }
}
