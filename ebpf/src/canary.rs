//! ABI of the `canary` object: which slot of its map counts the hits of which probe. See the agent's `canary`.

/// Slot of the entry probe on an instruction that the kernel emulates.
pub const EMULATED: u32 = 0;
/// Slot of the entry probe on an instruction that the kernel single-steps.
pub const STEPPED: u32 = 1;
/// Slot of the entry probe on a five-byte `nop`, which newer kernels turn into a system call.
pub const NOP: u32 = 2;
/// Slot of the return probe.
pub const RETURN: u32 = 3;
/// Slots.
pub const COUNT: u32 = 4;
