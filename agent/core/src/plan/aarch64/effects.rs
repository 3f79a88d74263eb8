//! Effects of AArch64 instructions on control, the stack pointer and memory.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand};

use super::decode::{LENGTH, decode, immediate, page_address, target};
use super::operands::{self, FRAME, LINK, STACK};
use crate::plan::elf::Image;
use crate::plan::insn::{Flow, Stack, Write};

/// Where control goes after the instruction.
pub(super) fn flow(image: &Image<'_>, at: u64, instruction: &Instruction) -> Flow {
    let to = target(at, instruction);
    match instruction.opcode {
        // Conditions 14 and 15 are both "always".
        Opcode::B | Opcode::Bcc(14 | 15) | Opcode::BCcc(14 | 15) => {
            to.map_or(Flow::Trap, Flow::Jump)
        }
        Opcode::Bcc(_)
        | Opcode::BCcc(_)
        | Opcode::CBZ
        | Opcode::CBNZ
        | Opcode::TBZ
        | Opcode::TBNZ => to.map_or(Flow::Trap, Flow::Branch),
        Opcode::BL => to.map_or(Flow::Trap, Flow::Call),
        Opcode::BLR
        | Opcode::BLRAA
        | Opcode::BLRAAZ
        | Opcode::BLRAB
        | Opcode::BLRABZ
        | Opcode::SVC => Flow::CallIndirect(None),
        Opcode::BR => Flow::JumpIndirect(linkage_word(image, at, instruction)),
        Opcode::BRAA | Opcode::BRAAZ | Opcode::BRAB | Opcode::BRABZ => Flow::JumpIndirect(None),
        Opcode::RET => match instruction.operands[0] {
            Operand::Register(_, LINK) => Flow::Return,
            _ => Flow::JumpIndirect(None),
        },
        Opcode::RETAA
        | Opcode::RETAB
        | Opcode::RETAASPPC
        | Opcode::RETABSPPC
        | Opcode::RETAASPPCR
        | Opcode::RETABSPPCR => Flow::Return,
        Opcode::BRK
        | Opcode::HLT
        | Opcode::UDF
        | Opcode::HVC
        | Opcode::SMC
        | Opcode::DCPS1
        | Opcode::DCPS2
        | Opcode::DCPS3
        | Opcode::ERET
        | Opcode::ERETAA
        | Opcode::ERETAB
        | Opcode::DRPS => Flow::Trap,
        _ => Flow::Next,
    }
}

/// The word of the image that holds the target of a linkage stub: `adrp x16, page;
/// ldr x17, [x16, #low]; add x16, x16, #low; br x17`, the form that all linkers write (ELF for the
/// Arm 64-bit Architecture, "PLT sequences"). With `-z pac-plt` the pointer is authenticated before
/// the jump.
fn linkage_word(image: &Image<'_>, at: u64, jump: &Instruction) -> Option<u64> {
    let before = |at: u64| {
        let at = at.checked_sub(LENGTH)?;
        Some((at, decode(image, at)?))
    };
    let Operand::Register(_, wanted) = jump.operands[0] else {
        return None;
    };
    let (add_at, add) = before(at).and_then(|(at, last)| match operands::is_hint(last.opcode) {
        true => before(at),
        false => Some((at, last)),
    })?;
    let (load_at, load) = before(add_at)?;
    let (page_at, page) = before(load_at)?;
    let is_stub = page.opcode == Opcode::ADRP
        && load.opcode == Opcode::LDR
        && add.opcode == Opcode::ADD
        && operands::written(&add).all(|register| register != wanted);
    match (page.operands[0], load.operands[0], load.operands[1]) {
        (
            Operand::Register(_, base),
            Operand::Register(_, loaded),
            Operand::RegPreIndex(from, low, false),
        ) if is_stub && base == from && loaded == wanted => {
            Some(page_address(page_at, &page)?.wrapping_add_signed(i64::from(low)))
        }
        _ => None,
    }
}

/// Effect of the instruction on the stack pointer.
pub(super) fn stack(instruction: &Instruction) -> Stack {
    let writes = |wanted| operands::written(instruction).any(|register| register == wanted);
    if instruction.opcode == Opcode::Invalid {
        return Stack::Lost;
    }
    if let Some((STACK, Some(bytes))) = operands::write_back(instruction) {
        return match writes(FRAME) {
            true => Stack::MoveFrameLost(bytes),
            false => Stack::Move(bytes),
        };
    }
    let sign = match instruction.opcode {
        Opcode::ADD => Some(1),
        Opcode::SUB => Some(-1),
        _ => None,
    };
    let distance = immediate(&instruction.operands[2])
        .and_then(|number| i64::try_from(number).ok()?.checked_mul(sign?));
    match (instruction.operands[0], instruction.operands[1], distance) {
        (Operand::RegisterOrSP(_, STACK), Operand::RegisterOrSP(_, STACK), Some(bytes)) => {
            Stack::Move(bytes)
        }
        (Operand::RegisterOrSP(_, FRAME), Operand::RegisterOrSP(_, STACK), Some(bytes)) => {
            Stack::Frame(bytes)
        }
        (Operand::RegisterOrSP(_, STACK), Operand::RegisterOrSP(_, FRAME), Some(bytes)) => {
            Stack::Restore(bytes)
        }
        _ if writes(STACK) => Stack::Lost,
        _ if writes(FRAME) => Stack::FrameLost,
        _ => Stack::Keep,
    }
}

/// The instruction's store through a register other than the stack pointer.
pub(super) fn writes(instruction: &Instruction) -> Option<Write> {
    if !operands::is_store(instruction.opcode) {
        return None;
    }
    let access = operands::access(instruction)?;
    let total = access.size.checked_mul(access.count)?;
    let displacement = match access.address {
        Operand::RegPreIndex(base, offset, _) if *base != STACK => i64::from(*offset),
        Operand::RegPostIndex(base, _) | Operand::RegPostIndexReg(base, _) if *base != STACK => 0,
        _ => return None,
    };
    Some(Write {
        displacement,
        size: i64::try_from(total).ok()?,
    })
}
