//! ABI of the `canary` object: indexes of its hit counters. The agent's `canary` module reads them.

/// Hits of the entry probe on an instruction that the kernel emulates.
pub const EMULATED: u32 = 0;
/// Hits of the entry probe on an instruction that the kernel single-steps.
pub const STEPPED: u32 = 1;
/// Hits of the entry probe on a five-byte `nop`, which newer kernels replace by a system call.
pub const NOP: u32 = 2;
/// Hits of the return probe.
pub const RETURN: u32 = 3;
/// Number of counters.
pub const COUNT: u32 = 4;
