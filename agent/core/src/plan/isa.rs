//! The seam between the planner and a machine: what an instruction set must tell, and in which words.
//!
//! `cfg`, `exits`, `fields` and `statem` speak only these words; `x86_64` and `aarch64` answer. Another machine is another
//! implementation of [`Isa`], and one more line in [`for_machine`].

use std::collections::BTreeSet;

use object::elf;

use super::aarch64::Aarch64;
use super::elf::Image;
use super::trace::Trace;
use super::x86_64::X86_64;
use super::{Field, NoPlan};

/// An instruction set, as far as planning needs it. Implementations are pure and bounded.
pub(super) trait Isa {
    /// Its name, as Rust's.
    fn name(&self) -> &'static str;

    /// Decodes the instruction at `at`; `None` where there is no executable byte or no valid instruction.
    fn lift(&self, image: &Image<'_>, at: u64) -> Option<Insn>;

    /// Targets of the indirect jump that ends `path` (addresses in the order of execution), read from its jump table.
    fn switch(&self, image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>>;

    /// Runs the function at `function` on imagined objects: argument 0 is the root object, the rest as `call` says.
    fn call(&self, image: &Image<'_>, function: u64, call: Call) -> Trace;

    /// Addresses that the instruction at `at` puts into a register, or finds in the words of the image that it reads.
    fn mentions(&self, image: &Image<'_>, at: u64) -> Vec<u64>;

    /// The jumps through the word at `word` by which linkage stubs (PLT) leave the image.
    fn stubs(&self, image: &Image<'_>, word: u64) -> Vec<Insn>;

    /// Addresses in `(start, size)` of what looks like a direct call of, or jump to, one of `targets`. Whether an instruction begins
    /// there, control flow tells.
    fn calls(&self, image: &Image<'_>, range: (u64, u64), targets: &BTreeSet<u64>)
    -> BTreeSet<u64>;

    /// What the instruction at `at` does to the register of argument 0.
    fn first_argument(&self, image: &Image<'_>, at: u64) -> First;

    /// The instruction at `at` goes on to the next one and leaves the registers of arguments 0, 1 and 2 alone: a probe on
    /// the next one sees the same arguments.
    fn keeps_arguments(&self, image: &Image<'_>, at: u64) -> bool;
}

/// How [`Isa::call`] sets the scene.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Call {
    /// Argument 0 is this number instead of the root object.
    pub(super) number: Option<u64>,
    /// Argument 1 is this number instead of a pointer.
    pub(super) command: Option<u64>,
    /// Argument 2.
    pub(super) size: u64,
    /// Pointers inside objects are null instead of leading to further imagined objects.
    pub(super) null_pointers: bool,
    /// The run ends where control comes to this address, and argument 1 of the function there counts as returned.
    pub(super) until: Option<u64>,
    /// What memory holds at these places of the objects.
    pub(super) given: [Option<Given>; 2],
    /// What each call made returns; `None` is unknown.
    pub(super) calls: Option<u64>,
}

/// What becomes of the register that holds a function's first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing.
    Kept,
    /// It is read from memory, this far from what another register points to, which is not the stack pointer.
    Read(i64),
    /// It gets something else.
    Changed,
}

/// Content of one place in an imagined object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    /// The place; its mask does not count.
    pub(super) field: Field,
    /// The number there, a null pointer included.
    pub(super) value: u64,
}

/// One decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    /// Its address.
    pub(super) at: u64,
    /// Address of the byte after it.
    pub(super) next: u64,
    /// Where control goes.
    pub(super) flow: Flow,
    /// What happens to the stack pointer.
    pub(super) stack: Stack,
    /// The kernel emulates it under a uprobe instead of single-stepping a copy.
    pub(super) emulated: bool,
    /// The kernel refuses a probe here.
    pub(super) refused: bool,
    /// A write to memory that is neither on the stack nor at a fixed address.
    pub(super) writes: Option<Write>,
}

/// A write through a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    /// Distance of its first byte from what the register points to.
    pub(super) displacement: i64,
    /// Bytes.
    pub(super) size: i64,
}

impl Write {
    /// Changes the four-byte number at `displacement`.
    pub(super) fn changes(self, displacement: i64) -> bool {
        let distance = displacement.wrapping_sub(self.displacement);
        distance > -4 && distance < self.size
    }
}

impl Insn {
    /// Control goes into a function and, as a rule, comes back.
    pub(super) fn is_call(&self) -> bool {
        matches!(self.flow, Flow::Call(_) | Flow::CallIndirect(_))
    }
}

/// Where control goes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next one.
    Next,
    /// To one address.
    Jump(u64),
    /// To the next one or to one address.
    Branch(u64),
    /// Into a function at a known address, and back.
    Call(u64),
    /// Into a function whose address is in a word of the image (`Some`) or in a register or object, and back.
    CallIndirect(Option<u64>),
    /// To an address that is in a word of the image (`Some`) or computed.
    JumpIndirect(Option<u64>),
    /// To the caller.
    Return,
    /// Nowhere (`ud2`, `hlt`).
    Trap,
}

/// What an instruction does to the stack pointer. The frame pointer is followed since it restores the stack pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    /// Nothing.
    Keep,
    /// Adds this many bytes.
    Move(i64),
    /// Adds this many bytes, and the frame pointer is lost.
    MoveFrameLost(i64),
    /// The frame pointer becomes the stack pointer plus this.
    Frame(i64),
    /// The stack pointer becomes the frame pointer plus this.
    Restore(i64),
    /// `leave`: the stack pointer becomes the frame pointer plus 8, and the frame pointer is lost.
    Leave,
    /// The frame pointer becomes unknown.
    FrameLost,
    /// The stack pointer becomes unknown.
    Lost,
}

/// The implementation for an image's machine.
pub(super) fn for_machine(machine: elf::Machine) -> Result<Box<dyn Isa>, NoPlan> {
    match machine {
        elf::EM_X86_64 => Ok(Box::new(X86_64)),
        elf::EM_AARCH64 => Ok(Box::new(Aarch64)),
        other => Err(NoPlan::Machine(other.0)),
    }
}
