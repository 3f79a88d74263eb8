//! x86-64 behind the [`Isa`] seam: decoding into the planner's words, jump tables, and the kernel's emulation rule.

use iced_x86::{
    ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::elf::Image;
use super::interp;
use super::isa::{Call, Flow, Insn, Isa, Stack};
use super::trace::Trace;

/// Entries of a jump table, at most.
const MAX_CASES: u64 = 512;
/// Entries read where no comparison bounds the table.
const MAX_UNBOUNDED_CASES: u64 = 64;
/// Instructions before an indirect jump in which its bound is looked for.
const BOUND_WINDOW: usize = 24;

/// The x86-64 instruction set.
pub(super) struct X86_64;

impl Isa for X86_64 {
    fn lift(&self, image: &Image<'_>, at: u64) -> Option<Insn> {
        let instruction = interp::decode(image, at)?;
        let bytes = image.bytes_at(at, instruction.len())?;
        Some(Insn {
            at,
            next: instruction.next_ip(),
            flow: flow(&instruction)?,
            stack: stack(&instruction),
            emulated: is_emulated(bytes),
            writes: writes(&instruction),
        })
    }

    fn switch(&self, image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>> {
        let path: Vec<Instruction> = path.iter().map_while(|at| interp::decode(image, *at)).collect();
        let (jump, before) = path.split_last()?;
        let table = Table::behind(jump, before)?;
        let bound = bound(before);
        let mut targets = Vec::new();
        for index in 0..bound.unwrap_or(MAX_UNBOUNDED_CASES) {
            let target = table.target(image, index).filter(|target| image.is_code(*target));
            match (target, bound) {
                (Some(target), Some(_)) => targets.push(target),
                (Some(target), None) if image.same_function(target, jump.ip()) => targets.push(target),
                // An entry within bounds that leads nowhere: this is not the table.
                (None, Some(_)) => return None,
                (_, None) => break,
            }
        }
        (!targets.is_empty()).then_some(targets)
    }

    fn call(&self, image: &Image<'_>, function: u64, call: Call) -> Trace {
        interp::run(image, function, call)
    }

    fn keeps_arguments(&self, image: &Image<'_>, at: u64) -> bool {
        interp::decode(image, at).is_some_and(|instruction| {
            instruction.flow_control() == FlowControl::Next
                && ![Register::RDI, Register::RSI, Register::RDX].iter().any(|register| changes(&instruction, *register))
        })
    }
}

/// The kernel emulates this instruction under a uprobe on every supported version: `push_setup_xol_ops` and
/// `branch_setup_xol_ops` in arch/x86/kernel/uprobes.c. `endbr64` and long `nop`s, which only newer kernels emulate, and
/// every prefixed form are left out.
fn is_emulated(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x50..=0x57 | 0x90]
            | [0x41, 0x50..=0x57]
            | [0xe8 | 0xe9, _, _, _, _]
            | [0xeb | 0x70..=0x7f, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

fn flow(instruction: &Instruction) -> Option<Flow> {
    // The word of the image through which an indirect branch goes.
    let word = instruction.is_ip_rel_memory_operand().then(|| instruction.ip_rel_memory_address());
    Some(match instruction.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
        FlowControl::ConditionalBranch => Flow::Branch(instruction.near_branch_target()),
        FlowControl::Call if instruction.is_call_near() => Flow::Call(instruction.near_branch_target()),
        // `syscall` and its like.
        FlowControl::Call => Flow::CallIndirect(None),
        FlowControl::IndirectCall => Flow::CallIndirect(word),
        FlowControl::IndirectBranch => Flow::JumpIndirect(word),
        FlowControl::Return => Flow::Return,
        FlowControl::Interrupt | FlowControl::Exception => Flow::Trap,
        FlowControl::XbeginXabortXend => return None,
    })
}

fn changes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None)
    })
}

fn stack(instruction: &Instruction) -> Stack {
    let register = |operand| match instruction.op_kind(operand) {
        OpKind::Register => instruction.op_register(operand),
        _ => Register::None,
    };
    let immediate = || instruction.try_immediate(1).map(u64::cast_signed);
    let displacement = instruction.memory_displacement64().cast_signed();
    let plain_address = instruction.memory_index() == Register::None;
    let based_on = |base| instruction.memory_base() == base && plain_address;
    match (instruction.mnemonic(), register(0), register(1)) {
        // Control comes back from a call with the stack as it was.
        (Mnemonic::Call | Mnemonic::Ret, ..) => Stack::Keep,
        (Mnemonic::Leave, ..) => Stack::Leave,
        (Mnemonic::Pop, Register::RBP, _) => Stack::MoveFrameLost(8),
        (Mnemonic::Pop, Register::RSP, _) => Stack::Lost,
        (Mnemonic::Push | Mnemonic::Pop | Mnemonic::Pushfq | Mnemonic::Popfq, ..) => {
            Stack::Move(i64::from(instruction.stack_pointer_increment()))
        }
        (Mnemonic::Add, Register::RSP, _) => immediate().map_or(Stack::Lost, Stack::Move),
        (Mnemonic::Sub, Register::RSP, _) => {
            immediate().map_or(Stack::Lost, |bytes| Stack::Move(bytes.wrapping_neg()))
        }
        (Mnemonic::Lea, Register::RSP, _) if based_on(Register::RSP) => Stack::Move(displacement),
        (Mnemonic::Lea, Register::RSP, _) if based_on(Register::RBP) => Stack::Restore(displacement),
        (Mnemonic::Lea, Register::RBP, _) if based_on(Register::RSP) => Stack::Frame(displacement),
        (Mnemonic::Mov, Register::RSP, Register::RBP) => Stack::Restore(0),
        (Mnemonic::Mov, Register::RBP, Register::RSP) => Stack::Frame(0),
        _ if changes(instruction, Register::RSP) => Stack::Lost,
        _ if changes(instruction, Register::RBP) => Stack::FrameLost,
        _ => Stack::Keep,
    }
}

/// Displacement of a write through a register other than the stack pointer.
fn writes(instruction: &Instruction) -> Option<i64> {
    let mut factory = InstructionInfoFactory::new();
    let writes = factory.info(instruction).used_memory().iter().any(|memory| {
        !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None)
            && !matches!(memory.base(), Register::RSP | Register::RIP)
    });
    (writes && !instruction.is_ip_rel_memory_operand()).then(|| instruction.memory_displacement64().cast_signed())
}

/// A jump table.
struct Table {
    at: u64,
    /// Entries are 32-bit distances from the table (position-independent code) instead of addresses.
    relative: bool,
}

impl Table {
    /// The table that an indirect jump goes through, from the instructions run before it. GCC and Clang write either
    /// `jmp [table + index * 8]`, or `lea base, table; movsxd r, [base + index * 4]; add r, base; jmp r`.
    fn behind(jump: &Instruction, before: &[Instruction]) -> Option<Self> {
        if jump.op0_kind() == OpKind::Memory {
            if jump.memory_index_scale() != 8 || jump.memory_index() == Register::None {
                return None;
            }
            let at = match jump.memory_base() {
                Register::None => jump.memory_displacement64(),
                base => address_in(base, before)?.wrapping_add(jump.memory_displacement64()),
            };
            return Some(Self { at, relative: false });
        }
        let mut wanted = jump.op0_register();
        for (index, instruction) in before.iter().enumerate().rev().take(BOUND_WINDOW) {
            if !changes(instruction, wanted) {
                continue;
            }
            let earlier = before.get(..index)?;
            let (base, scale) = (instruction.memory_base(), instruction.memory_index_scale());
            match instruction.mnemonic() {
                Mnemonic::Add if instruction.op1_kind() == OpKind::Register => {
                    // The sum of an entry and the table: either may be the register that is jumped to.
                    let (a, b) = (instruction.op0_register(), instruction.op1_register());
                    wanted = if entry_of(a, earlier) { a } else { b };
                }
                Mnemonic::Movsxd if scale == 4 => {
                    let at = address_in(base, earlier)?.wrapping_add(instruction.memory_displacement64());
                    return Some(Self { at, relative: true });
                }
                Mnemonic::Mov if instruction.op1_kind() == OpKind::Memory && scale == 8 => {
                    let at = match base {
                        Register::None => 0,
                        base => address_in(base, earlier)?,
                    };
                    return Some(Self { at: at.wrapping_add(instruction.memory_displacement64()), relative: false });
                }
                _ => return None,
            }
        }
        None
    }

    fn target(&self, image: &Image<'_>, index: u64) -> Option<u64> {
        if self.relative {
            let entry = image.constant(self.at.checked_add(index.checked_mul(4)?)?, 4)?;
            Some(self.at.wrapping_add_signed(i64::from(u32::try_from(entry).ok()?.cast_signed())))
        } else {
            image.pointer(self.at.checked_add(index.checked_mul(8)?)?)
        }
    }
}

/// The last write to `register` reads an entry of a table of distances.
fn entry_of(register: Register, before: &[Instruction]) -> bool {
    let write = before.iter().rev().find(|instruction| changes(instruction, register));
    write.is_some_and(|write| write.mnemonic() == Mnemonic::Movsxd && write.memory_index_scale() == 4)
}

/// The address that the code before put into `register`.
fn address_in(mut register: Register, before: &[Instruction]) -> Option<u64> {
    for instruction in before.iter().rev() {
        if !changes(instruction, register) {
            continue;
        }
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                return Some(instruction.ip_rel_memory_address());
            }
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => register = instruction.op1_register(),
            Mnemonic::Mov => return instruction.try_immediate(1).ok(),
            _ => return None,
        }
    }
    None
}

/// How many entries the comparison before an indirect jump lets through.
fn bound(before: &[Instruction]) -> Option<u64> {
    let mut condition = None;
    for instruction in before.iter().rev().take(BOUND_WINDOW) {
        if instruction.flow_control() == FlowControl::ConditionalBranch && condition.is_none() {
            condition = Some(instruction.condition_code());
        } else if instruction.mnemonic() == Mnemonic::Cmp && condition.is_some() {
            let limit = instruction.try_immediate(1).ok()?;
            let entries = match condition? {
                ConditionCode::a | ConditionCode::be => limit.checked_add(1)?,
                ConditionCode::ae | ConditionCode::b => limit,
                _ => return None,
            };
            return (1..=MAX_CASES).contains(&entries).then_some(entries);
        }
    }
    None
}
