//! Is a file, under the name by which a process maps it, one that has probes already under another name?
//!
//! Containers of one image share the file behind their overlay mounts, each under a name and a number of its own, and the kernel
//! plants probes into the file behind. A second set would run every program twice, a hundredth a hundred times. No number tells,
//! so the process itself is looked at: where all the planned instructions are the kernel's breakpoints already, they are ours.

use std::{fs::File, os::unix::fs::FileExt as _};

use super::maps::Mapped;
use reprise_core::plan::{Bytes, Plan};

/// What the kernel puts in the place of a probed instruction: `int3` (arch/x86/include/asm/uprobes.h), `brk #5`
/// (`UPROBES_BRK_IMM`, arch/arm64/include/asm/brk-imm.h).
#[cfg(target_arch = "x86_64")]
const BREAKPOINT: [u8; 1] = [0xcc];
#[cfg(target_arch = "aarch64")]
const BREAKPOINT: [u8; 4] = 0xd420_00a0_u32.to_le_bytes();

/// Every planned point of `plan` in the code of that process is a breakpoint, which it is not in the file.
pub(super) fn is_probed(mapped: &Mapped, file: &dyn Bytes, plan: &Plan) -> bool {
    let Ok(memory) = File::open(format!("/proc/{}/mem", mapped.pid)) else {
        return false;
    };
    let mut points = plan.entries.iter().chain(&plan.exits).peekable();
    let some = points.peek().is_some();
    some && points.all(|point| {
        let mut bytes = BREAKPOINT;
        let planted = mapped
            .address(point.offset)
            .is_some_and(|address| memory.read_exact_at(&mut bytes, address).is_ok())
            && bytes == BREAKPOINT;
        planted && file.read_at(point.offset, &mut bytes) && bytes != BREAKPOINT
    })
}
