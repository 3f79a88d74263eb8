//! The kernel's treatment of a uprobe on an AArch64 instruction
//! (arch/arm64/kernel/probes/decode-insn.c).

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand};

use super::operands;

/// Whether every supported kernel emulates this instruction under a uprobe:
/// `arm_probe_decode_insn`. `nop`, which only 6.13 and later emulate, is excluded.
pub(super) fn is_emulated(instruction: &Instruction) -> bool {
    let literal = instruction
        .operands
        .iter()
        .any(|operand| matches!(operand, Operand::PCOffset(_)));
    match instruction.opcode {
        Opcode::B
        | Opcode::BL
        | Opcode::Bcc(_)
        | Opcode::BR
        | Opcode::BLR
        | Opcode::RET
        | Opcode::CBZ
        | Opcode::CBNZ
        | Opcode::TBZ
        | Opcode::TBNZ
        | Opcode::ADR
        | Opcode::ADRP => true,
        Opcode::LDR | Opcode::LDRSW => {
            literal && matches!(instruction.operands[0], Operand::Register(..))
        }
        _ => false,
    }
}

/// Whether some supported kernel refuses a probe on this instruction: `aarch64_insn_is_steppable`.
/// Hints other than `nop` are stepped from 5.8 on only; authenticating branches, exclusive accesses
/// and system instructions never are.
pub(super) fn is_refused(instruction: &Instruction) -> bool {
    let [first, second, ..] = &instruction.operands;
    match instruction.opcode {
        Opcode::HINT => !matches!(
            (first, second),
            (Operand::ControlReg(0), Operand::Immediate(0))
        ),
        opcode if operands::is_hint(opcode) || operands::is_exclusive(opcode) => true,
        Opcode::LDR | Opcode::LDRSW | Opcode::PRFM => {
            matches!(second, Operand::PCOffset(_)) && !is_emulated(instruction)
        }
        Opcode::BRAA
        | Opcode::BRAAZ
        | Opcode::BRAB
        | Opcode::BRABZ
        | Opcode::BLRAA
        | Opcode::BLRAAZ
        | Opcode::BLRAB
        | Opcode::BLRABZ
        | Opcode::RETAA
        | Opcode::RETAB
        | Opcode::RETAASPPC
        | Opcode::RETABSPPC
        | Opcode::RETAASPPCR
        | Opcode::RETABSPPCR
        | Opcode::ERET
        | Opcode::ERETAA
        | Opcode::ERETAB
        | Opcode::DRPS
        | Opcode::BCcc(_)
        | Opcode::SVC
        | Opcode::HVC
        | Opcode::SMC
        | Opcode::BRK
        | Opcode::HLT
        | Opcode::UDF
        | Opcode::DCPS1
        | Opcode::DCPS2
        | Opcode::DCPS3
        | Opcode::MSR
        | Opcode::MRS
        | Opcode::SYS(_)
        | Opcode::SYSL(_)
        | Opcode::Invalid => true,
        _ => false,
    }
}
