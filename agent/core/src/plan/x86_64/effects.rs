//! Effects of x86-64 instructions on control, the stack pointer and memory, and the kernel's
//! emulation of them under a uprobe.

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::decode::changes;
use crate::plan::insn::{Flow, Stack, Write};

/// Whether every supported kernel emulates this instruction under a uprobe: `push_setup_xol_ops`
/// and `branch_setup_xol_ops` in arch/x86/kernel/uprobes.c. `endbr64` and long `nop`s, which only
/// newer kernels emulate, and every prefixed form are excluded.
pub(super) fn is_emulated(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x50..=0x57 | 0x90]
            | [0x41, 0x50..=0x57]
            | [0xe8 | 0xe9, _, _, _, _]
            | [0xeb | 0x70..=0x7f, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

/// Where control goes after the instruction.
pub(super) fn flow(instruction: &Instruction) -> Option<Flow> {
    // The word of the image that holds the target of an indirect branch.
    let word = instruction
        .is_ip_rel_memory_operand()
        .then(|| instruction.ip_rel_memory_address());
    Some(match instruction.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
        FlowControl::ConditionalBranch => Flow::Branch(instruction.near_branch_target()),
        FlowControl::Call if instruction.is_call_near() => {
            Flow::Call(instruction.near_branch_target())
        }
        // `syscall` and `int`.
        FlowControl::Call => Flow::CallIndirect(None),
        FlowControl::IndirectCall => Flow::CallIndirect(word),
        FlowControl::IndirectBranch => Flow::JumpIndirect(word),
        FlowControl::Return => Flow::Return,
        FlowControl::Interrupt | FlowControl::Exception => Flow::Trap,
        FlowControl::XbeginXabortXend => return None,
    })
}

/// Effect of the instruction on the stack pointer.
pub(super) fn stack(instruction: &Instruction) -> Stack {
    let register = |operand| match instruction.op_kind(operand) {
        OpKind::Register => instruction.op_register(operand),
        _ => Register::None,
    };
    let immediate = || instruction.try_immediate(1).map(u64::cast_signed);
    let displacement = instruction.memory_displacement64().cast_signed();
    let plain_address = instruction.memory_index() == Register::None;
    let based_on = |base| instruction.memory_base() == base && plain_address;
    match (instruction.mnemonic(), register(0), register(1)) {
        // A call returns with the stack pointer unchanged.
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
        (Mnemonic::Lea, Register::RSP, _) if based_on(Register::RBP) => {
            Stack::Restore(displacement)
        }
        (Mnemonic::Lea, Register::RBP, _) if based_on(Register::RSP) => Stack::Frame(displacement),
        (Mnemonic::Mov, Register::RSP, Register::RBP) => Stack::Restore(0),
        (Mnemonic::Mov, Register::RBP, Register::RSP) => Stack::Frame(0),
        _ if changes(instruction, Register::RSP) => Stack::Lost,
        _ if changes(instruction, Register::RBP) => Stack::FrameLost,
        _ => Stack::Keep,
    }
}

/// A write through a register other than the stack pointer.
pub(super) fn writes(instruction: &Instruction) -> Option<Write> {
    let mut factory = InstructionInfoFactory::new();
    let written = factory
        .info(instruction)
        .used_memory()
        .iter()
        .find(|memory| {
            !matches!(
                memory.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            ) && !matches!(memory.base(), Register::RSP | Register::RIP)
        })?;
    let size = i64::try_from(written.memory_size().size()).ok()?;
    (!instruction.is_ip_rel_memory_operand()).then(|| Write {
        displacement: instruction.memory_displacement64().cast_signed(),
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulated_instructions_match_the_kernel() {
        let emulated: [&[u8]; 12] = [
            &[0x55],                   // push rbp
            &[0x41, 0x57],             // push r15
            &[0x90],                   // nop
            &[0xe8, 0, 0, 0, 0],       // call
            &[0xe9, 0, 0, 0, 0],       // jmp
            &[0xeb, 0],                // jmp
            &[0x74, 0],                // je
            &[0x7f, 0],                // jg
            &[0x0f, 0x84, 0, 0, 0, 0], // je
            &[0x0f, 0x8f, 0, 0, 0, 0], // jg
            &[0x50],                   // push rax
            &[0x41, 0x50],             // push r8
        ];
        let stepped: [&[u8]; 13] = [
            &[0xc3],                   // ret
            &[0x5d],                   // pop rbp
            &[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
            &[0x0f, 0x1f, 0x00],       // long nop
            &[0x66, 0x90],             // prefixed nop
            &[0x31, 0xf6],             // xor esi, esi
            &[0xff, 0xd0],             // call rax
            &[0xff, 0x25, 0, 0, 0, 0], // jmp [rip]
            &[0x6a, 0x00],             // push 0
            &[0x48, 0x55],             // push rbp with another prefix
            &[0xe3, 0x00],             // jrcxz
            &[0xf2, 0xe8, 0, 0, 0, 0], // bnd call
            &[0x3e, 0x74, 0x00],       // je with a hint
        ];
        assert!(emulated.iter().all(|bytes| is_emulated(bytes)));
        assert!(!stepped.iter().any(|bytes| is_emulated(bytes)));
    }
}
