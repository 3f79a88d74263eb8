//! Detects that a mapped file already has probes under another name.
//!
//! Containers of one image share the file below their overlay mounts, each under its own path and
//! inode number, and the kernel places probes into the shared file. A second set of probes would
//! run every program twice. Inode numbers do not identify the shared file, so that the check reads
//! the memory of the process: if every planned instruction already is a breakpoint, the agent has
//! placed it.

use std::{fs::File, os::unix::fs::FileExt as _};

use super::process_maps::MappedFile;
use reprise_core::plan::{Bytes, Plan};

/// The instruction that replaces a probed one: `int3` (arch/x86/include/asm/uprobes.h), `brk #5`
/// (`UPROBES_BRK_IMM`, arch/arm64/include/asm/brk-imm.h).
#[cfg(target_arch = "x86_64")]
const BREAKPOINT: [u8; 1] = [0xcc];
#[cfg(target_arch = "aarch64")]
const BREAKPOINT: [u8; 4] = 0xd420_00a0_u32.to_le_bytes();

/// Whether every point of `plan` is a breakpoint in the memory of the process but not in the file.
pub(super) fn is_probed(mapped: &MappedFile, file: &dyn Bytes, plan: &Plan) -> bool {
    let Ok(memory) = File::open(format!("/proc/{}/mem", mapped.pid)) else {
        return false;
    };
    let mut points = plan.entries.iter().chain(&plan.exits).peekable();
    let some = points.peek().is_some();
    some && points.all(|point| {
        let mut bytes = BREAKPOINT;
        let is_breakpoint = mapped
            .address(point.offset)
            .is_some_and(|address| memory.read_exact_at(&mut bytes, address).is_ok())
            && bytes == BREAKPOINT;
        is_breakpoint && file.read_at(point.offset, &mut bytes) && bytes != BREAKPOINT
    })
}
