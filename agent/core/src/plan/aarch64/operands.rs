//! Operands of AArch64 instructions: the general registers that they write, and the memory that
//! they access.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SIMDSizeCode, SizeCode};

/// Number of the frame pointer (Procedure Call Standard, section 6.1.1).
pub(super) const FRAME: u16 = 29;
/// Number of the link register.
pub(super) const LINK: u16 = 30;
/// Number of the stack pointer, in operands that may be it.
pub(super) const STACK: u16 = 31;

/// One memory access: `count` neighbouring words of `size` bytes.
pub(super) struct Access<'i> {
    /// The operand that holds the address.
    pub(super) address: &'i Operand,
    /// Size of one word, bytes.
    pub(super) size: usize,
    /// Number of words.
    pub(super) count: usize,
}

/// Whether the instruction is a store, which only reads its register operands.
pub(super) fn is_store(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(
        opcode,
        STR | STRB
            | STRH
            | STUR
            | STURB
            | STURH
            | STTR
            | STTRB
            | STTRH
            | STP
            | STNP
            | STLR
            | STLRB
            | STLRH
            | STLLR
            | STLLRB
            | STLLRH
            | STLUR
            | STLURB
            | STLURH
    )
}

/// Whether the instruction is one of pointer authentication's in the hint space.
pub(super) fn is_hint(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(
        opcode,
        PACIASP
            | PACIAZ
            | PACIA1716
            | PACIBSP
            | PACIBZ
            | PACIB1716
            | AUTIASP
            | AUTIAZ
            | AUTIA1716
            | AUTIBSP
            | AUTIBZ
            | AUTIB1716
            | XPACLRI
            | PACM
    )
}

/// Whether the instruction is an exclusive access: a probe between the two halves of a pair makes
/// the second one fail each time.
pub(super) fn is_exclusive(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(
        opcode,
        LDXR | LDXRB
            | LDXRH
            | LDXP
            | LDAXR
            | LDAXRB
            | LDAXRH
            | LDAXP
            | STXR
            | STXRB
            | STXRH
            | STXP
            | STLXR
            | STLXRB
            | STLXRH
            | STLXP
    )
}

/// Returns the general registers written, the stack pointer as [`STACK`]. An upper bound for
/// instructions that are not modelled exactly.
pub(super) fn written(instruction: &Instruction) -> impl Iterator<Item = u16> {
    use Opcode::*;
    let operands = match instruction.opcode {
        opcode if is_store(opcode) || is_hint(opcode) => 0,
        CBZ | CBNZ | TBZ | TBNZ | BR | BLR | RET | CCMP | CCMN | MSR | PRFM | PRFUM | HINT
        | ST1 | ST2 | ST3 | ST4 | SYS(_) => 0,
        LDP | LDPSW | LDNP | LDXP | LDAXP => 2,
        opcode if is_exclusive(opcode) => 1,
        SWP(_) | SWPB(_) | SWPH(_) | CAS(_) | CASB(_) | CASH(_) | CASP(_) | LDADD(_)
        | LDADDB(_) | LDADDH(_) | LDCLR(_) | LDEOR(_) | LDSET(_) => 4,
        _ => 1,
    };
    let direct =
        instruction
            .operands
            .into_iter()
            .take(operands)
            .filter_map(|operand| match operand {
                Operand::Register(_, number) if number != 31 => Some(number),
                Operand::RegisterPair(_, number) if number != 31 => Some(number),
                Operand::RegisterOrSP(_, number) => Some(number),
                _ => None,
            });
    direct.chain(write_back(instruction).map(|(base, _)| base))
}

/// Returns the base register that an access updates, and the constant number of bytes, if any.
pub(super) fn write_back(instruction: &Instruction) -> Option<(u16, Option<i64>)> {
    instruction
        .operands
        .iter()
        .find_map(|operand| match *operand {
            Operand::RegPreIndex(base, offset, true) | Operand::RegPostIndex(base, offset) => {
                Some((base, Some(i64::from(offset))))
            }
            Operand::RegPostIndexReg(base, _) => Some((base, None)),
            _ => None,
        })
}

/// Returns the memory access of a load or store.
pub(super) fn access(instruction: &Instruction) -> Option<Access<'_>> {
    use Opcode::*;
    let operands = &instruction.operands;
    let whole = match operands.first()? {
        Operand::Register(SizeCode::X, _) => 8,
        Operand::Register(SizeCode::W, _) => 4,
        Operand::SIMDRegister(size, _) => match size {
            SIMDSizeCode::B => 1,
            SIMDSizeCode::H => 2,
            SIMDSizeCode::S => 4,
            SIMDSizeCode::D => 8,
            SIMDSizeCode::Q => 16,
        },
        _ => return None,
    };
    let size = match instruction.opcode {
        LDRB | LDRSB | LDURB | LDURSB | LDTRB | LDTRSB | LDARB | LDAPRB | LDAPURB | LDAPURSB
        | STRB | STURB | STTRB | STLRB | STLLRB | STLURB | LDLARB | LDXRB | LDAXRB => 1,
        LDRH | LDRSH | LDURH | LDURSH | LDTRH | LDTRSH | LDARH | LDAPRH | LDAPURH | LDAPURSH
        | STRH | STURH | STTRH | STLRH | STLLRH | STLURH | LDLARH | LDXRH | LDAXRH => 2,
        LDRSW | LDURSW | LDTRSW | LDPSW | LDAPURSW => 4,
        LDR | LDUR | LDTR | LDP | LDNP | LDAR | LDLAR | LDAPR | LDAPUR | LDXR | LDAXR | STR
        | STUR | STTR | STP | STNP | STLR | STLLR | STLUR => whole,
        _ => return None,
    };
    let count = match instruction.opcode {
        LDP | LDPSW | LDNP | STP | STNP => 2,
        _ => 1,
    };
    Some(Access {
        address: operands.get(count)?,
        size,
        count,
    })
}

/// Whether the load extends the sign.
pub(super) fn is_signed(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(
        opcode,
        LDRSB
            | LDRSH
            | LDRSW
            | LDURSB
            | LDURSH
            | LDURSW
            | LDTRSB
            | LDTRSH
            | LDTRSW
            | LDPSW
            | LDAPURSB
            | LDAPURSH
            | LDAPURSW
    )
}
