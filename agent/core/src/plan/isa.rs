//! The interface between the planner and an instruction set.
//!
//! The rest of the planner depends on [`Isa`] only; `x86_64` and `aarch64` implement it. Another
//! machine is another implementation, and one more line in `machine`.

use std::collections::BTreeSet;
use std::ops::Range;

use super::elf::Image;
use super::field::Field;
use super::insn::{FirstArgument, Insn};
use super::trace::Trace;

/// An instruction set, as far as planning needs it. Implementations are pure and bounded.
pub(super) trait Isa {
    /// Returns its name, as Rust spells it.
    fn name(&self) -> &'static str;

    /// Decodes the instruction at `at`; `None` where there is no executable byte or no valid
    /// instruction.
    fn lift(&self, image: &Image<'_>, at: u64) -> Option<Insn>;

    /// Returns the targets of the indirect jump that ends `path` (addresses in the order of
    /// execution), read from its jump table.
    fn jump_table_targets(&self, image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>>;

    /// Runs the function at `function` abstractly, on symbolic objects. `call` sets its arguments
    /// and the memory that it sees.
    fn interpret(&self, image: &Image<'_>, function: u64, call: Call) -> Trace;

    /// Returns the addresses that the instruction at `at` puts into a register, or loads from
    /// words of the image.
    fn referenced_addresses(&self, image: &Image<'_>, at: u64) -> Vec<u64>;

    /// Returns the jumps of linkage stubs (PLT) through the word at `word`.
    fn plt_jumps(&self, image: &Image<'_>, word: u64) -> Vec<Insn>;

    /// Returns the addresses in `range` of byte patterns that are a direct call of, or jump to,
    /// one of `targets`. A pattern may lie inside another instruction.
    fn direct_calls(
        &self,
        image: &Image<'_>,
        range: Range<u64>,
        targets: &BTreeSet<u64>,
    ) -> BTreeSet<u64>;

    /// Returns the effect of the instruction at `at` on the register of argument 0.
    fn first_argument_effect(&self, image: &Image<'_>, at: u64) -> FirstArgument;

    /// Whether the instruction at `at` continues at the next one and leaves the registers of
    /// arguments 0, 1 and 2 unchanged: a probe on the next one sees the same arguments.
    fn preserves_arguments(&self, image: &Image<'_>, at: u64) -> bool;
}

/// Arguments and environment of an abstract run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Call {
    /// Number passed as argument 0 instead of a pointer to the root object.
    pub(super) first_argument: Option<u64>,
    /// Number passed as argument 1 instead of a pointer.
    pub(super) second_argument: Option<u64>,
    /// Number passed as argument 2.
    pub(super) third_argument: u64,
    /// Pointers inside objects are null instead of leading to further symbolic objects.
    pub(super) null_pointers: bool,
    /// Address at which the run ends; argument 1 of the function there counts as the result.
    pub(super) stop_at: Option<u64>,
    /// Content of memory at these places of the objects.
    pub(super) presets: [Option<Preset>; 2],
    /// Result of every function that is called; `None` is unknown.
    pub(super) call_result: Option<u64>,
}

/// Content of one place in a symbolic object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preset {
    /// The place; its mask is ignored.
    pub(super) field: Field,
    /// The number there; 0 is also a null pointer.
    pub(super) value: u64,
}
