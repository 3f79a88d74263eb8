//! Instructions as the planner sees them, the same for every machine.

/// One decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    /// Address of the instruction.
    pub(super) at: u64,
    /// Address of the byte after it.
    pub(super) next: u64,
    /// Where control goes.
    pub(super) flow: Flow,
    /// Effect on the stack pointer.
    pub(super) stack: Stack,
    /// The kernel emulates it under a uprobe instead of single-stepping a copy.
    pub(super) emulated: bool,
    /// The kernel refuses a probe here.
    pub(super) refused: bool,
    /// A write to memory that is neither on the stack nor at a fixed address.
    pub(super) writes: Option<Write>,
}

impl Insn {
    /// Whether control enters another function and is expected back.
    pub(super) fn is_call(&self) -> bool {
        matches!(self.flow, Flow::Call(_) | Flow::CallIndirect(_))
    }
}

/// A write through a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    /// Distance of its first byte from the address in the register.
    pub(super) displacement: i64,
    /// Size, bytes.
    pub(super) size: i64,
}

impl Write {
    /// Whether it changes the four-byte number at `displacement`.
    pub(super) fn changes(self, displacement: i64) -> bool {
        let distance = displacement.wrapping_sub(self.displacement);
        distance > -4 && distance < self.size
    }
}

/// Where control goes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next instruction.
    Next,
    /// To one address.
    Jump(u64),
    /// To the next instruction or to one address.
    Branch(u64),
    /// Into a function at a known address, and back.
    Call(u64),
    /// Into a function, and back. Its address is in a word of the image (`Some`), or in a register
    /// or object.
    CallIndirect(Option<u64>),
    /// To an address that is in a word of the image (`Some`) or computed.
    JumpIndirect(Option<u64>),
    /// To the caller.
    Return,
    /// Nowhere (`ud2`, `hlt`).
    Trap,
}

/// Effect of an instruction on the stack pointer. The frame pointer is tracked since functions
/// restore the stack pointer from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    /// None.
    Keep,
    /// Adds this many bytes.
    Move(i64),
    /// Adds this many bytes; the frame pointer becomes unknown.
    MoveFrameLost(i64),
    /// The frame pointer becomes the stack pointer plus this.
    Frame(i64),
    /// The stack pointer becomes the frame pointer plus this.
    Restore(i64),
    /// `leave`: the stack pointer becomes the frame pointer plus 8, the frame pointer becomes
    /// unknown.
    Leave,
    /// The frame pointer becomes unknown.
    FrameLost,
    /// The stack pointer becomes unknown.
    Lost,
}

/// Effect of an instruction on the register that holds a function's first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstArgument {
    /// None.
    Unchanged,
    /// It is loaded from memory at this distance from the address in another register, which is
    /// not the stack pointer.
    Loaded(i64),
    /// It is overwritten in another way.
    Overwritten,
}
