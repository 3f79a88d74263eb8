//! Decoding of AArch64 instructions, their immediates and their targets.

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{DecodeError, InstDecoder, Instruction, Opcode, Operand};

use crate::plan::elf::Image;

/// Length of every instruction, bytes.
pub(super) const LENGTH: u64 = 4;
/// Limit of instructions from an `adrp` to the one that adds the offset in the page.
const MAX_DISTANCE: u64 = 40;

/// Decodes the instruction at an address. SVE and SME instructions have the opcode `Invalid`.
pub(super) fn decode(image: &Image<'_>, at: u64) -> Option<Instruction> {
    if !at.is_multiple_of(LENGTH) || !image.is_code(at) {
        return None;
    }
    let bytes: [u8; 4] = image.bytes_at(at, 4)?.try_into().ok()?;
    match InstDecoder::default().decode(&mut U8Reader::new(&bytes)) {
        Ok(instruction) => Some(instruction),
        Err(DecodeError::IncompleteDecoder) if is_vector(u32::from_le_bytes(bytes)) => {
            Some(Instruction {
                opcode: Opcode::Invalid,
                operands: [Operand::Nothing; 4],
            })
        }
        Err(_) => None,
    }
}

/// Whether the encoding is of SVE or SME, which have no branches (Arm Architecture Reference
/// Manual, C4.1).
fn is_vector(word: u32) -> bool {
    let group = word >> 25 & 0xf;
    group == 0b0010 || (group == 0 && word >> 31 == 1)
}

/// Returns the target of a branch relative to its own address.
pub(super) fn target(at: u64, instruction: &Instruction) -> Option<u64> {
    instruction
        .operands
        .iter()
        .find_map(|operand| match operand {
            Operand::PCOffset(offset) => Some(at.wrapping_add_signed(*offset)),
            _ => None,
        })
}

/// Returns the target of a `b` or `bl`: six bits of opcode, then the distance in words (Arm
/// Architecture Reference Manual, C6.2).
pub(super) fn branch_target(at: u64, word: u32) -> Option<u64> {
    let distance = i64::from((word << 6).cast_signed() >> 6) * LENGTH.cast_signed();
    (word & 0x7c00_0000 == 0x1400_0000).then(|| at.wrapping_add_signed(distance))
}

/// Returns the result of an `adrp`.
pub(super) fn page_address(at: u64, instruction: &Instruction) -> Option<u64> {
    match instruction.operands[1] {
        Operand::PCOffset(offset) => Some((at & !0xfff).wrapping_add_signed(offset)),
        _ => None,
    }
}

/// Returns the value of an immediate operand.
pub(super) fn immediate(operand: &Operand) -> Option<u64> {
    match *operand {
        Operand::Immediate(number) => Some(u64::from(number)),
        Operand::Imm16(number) => Some(u64::from(number)),
        Operand::Imm64(number) => Some(number),
        Operand::ImmShift(number, shift) => u64::from(number).checked_shl(u32::from(shift)),
        _ => None,
    }
}

/// Returns the address that an `add` completes, or that an `ldr` loads from a word of the image, up
/// to [`MAX_DISTANCE`] instructions after the `adrp` of its page.
pub(super) fn page_and_offset(image: &Image<'_>, at: u64) -> Option<u64> {
    let second = decode(image, at)?;
    let (base, offset) = match (second.opcode, second.operands[1]) {
        (Opcode::ADD, Operand::RegisterOrSP(_, base) | Operand::Register(_, base)) => {
            (base, immediate(&second.operands[2])?)
        }
        (Opcode::LDR, Operand::RegPreIndex(base, offset, false)) => {
            (base, u64::try_from(offset).ok()?)
        }
        _ => return None,
    };
    let page = (1..=MAX_DISTANCE).find_map(|back| {
        let before = at.checked_sub(back * LENGTH)?;
        let first = decode(image, before)?;
        let is_base = matches!(first.operands[0], Operand::Register(_, number) if number == base);
        if first.opcode != Opcode::ADRP || !is_base {
            return None;
        }
        page_address(before, &first)
    })?;
    let address = page.checked_add(offset)?;
    match second.opcode {
        Opcode::ADD => Some(address),
        _ => image.pointer(address),
    }
}
