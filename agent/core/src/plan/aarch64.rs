//! AArch64 behind the [`Isa`] seam: decoding into the planner's words.
//!
//! `interp` runs functions abstractly on a `machine` that knows `arithmetic`, `switch` reads jump tables, `registers` says what
//! is written, `probes` what the kernel makes of a probe.

mod arithmetic;
mod interp;
mod machine;
mod probes;
mod registers;
mod switch;

use std::collections::BTreeSet;

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{DecodeError, InstDecoder, Instruction, Opcode, Operand, SizeCode};

use super::elf::Image;
use super::isa::{Call, First, Flow, Insn, Isa, Stack, Write};
use super::trace::Trace;
use registers::{FRAME, LINK, STACK};

/// Length of every instruction, bytes.
const LENGTH: u64 = 4;
/// `br x17`, by which linkage stubs leave (ELF for the Arm 64-bit Architecture, "Procedure Linkage Table").
const BR_X17: [u8; 4] = 0xd61f_0220_u32.to_le_bytes();
/// Of those in a file, looked at.
const MAX_STUBS: usize = 1 << 14;

/// Instructions from `adrp` to the one that adds the offset in the page, at most.
const MAX_APART: u64 = 40;

/// The AArch64 instruction set.
pub(super) struct Aarch64;

impl Isa for Aarch64 {
    fn name(&self) -> &'static str {
        "aarch64"
    }

    fn lift(&self, image: &Image<'_>, at: u64) -> Option<Insn> {
        let instruction = decode(image, at)?;
        Some(Insn {
            at,
            next: at.checked_add(LENGTH)?,
            flow: flow(image, at, &instruction),
            stack: stack(&instruction),
            emulated: probes::is_emulated(&instruction),
            refused: probes::is_refused(&instruction),
            writes: writes(&instruction),
        })
    }

    fn switch(&self, image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>> {
        switch::targets(image, path)
    }

    fn call(&self, image: &Image<'_>, function: u64, call: Call) -> Trace {
        interp::run(image, function, call)
    }

    fn mentions(&self, image: &Image<'_>, at: u64) -> Vec<u64> {
        page_and_offset(image, at).into_iter().collect()
    }

    fn stubs(&self, image: &Image<'_>, word: u64) -> Vec<Insn> {
        let mut candidates = Vec::new();
        image.search_code(&BR_X17, BR_X17.len(), |at, _| {
            if candidates.len() < MAX_STUBS && at.is_multiple_of(LENGTH) {
                candidates.push(at);
            }
        });
        candidates
            .into_iter()
            .filter_map(|at| self.lift(image, at))
            .filter(|insn| insn.flow == Flow::JumpIndirect(Some(word)))
            .collect()
    }

    fn calls(
        &self,
        image: &Image<'_>,
        range: (u64, u64),
        targets: &BTreeSet<u64>,
    ) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        image.search_range(range, LENGTH as usize, |start, part| {
            // Parts begin at multiples of four wherever instructions do.
            let skip = start.wrapping_neg() % LENGTH;
            let words = part.get(skip as usize..).unwrap_or_default();
            for (index, word) in words.chunks_exact(LENGTH as usize).enumerate() {
                let at = start + skip + index as u64 * LENGTH;
                let word = word.try_into().map_or(0, u32::from_le_bytes);
                if branch_target(at, word).is_some_and(|target| targets.contains(&target)) {
                    found.insert(at);
                }
            }
        });
        found
    }

    fn first_argument(&self, image: &Image<'_>, at: u64) -> First {
        let Some(instruction) = decode(image, at) else {
            return First::Changed;
        };
        if instruction.opcode == Opcode::Invalid {
            return First::Changed;
        }
        if registers::written(&instruction).all(|register| register != 0) {
            return First::Kept;
        }
        match (instruction.opcode, instruction.operands) {
            (
                Opcode::LDR,
                [
                    Operand::Register(SizeCode::X, 0),
                    Operand::RegPreIndex(base, offset, false),
                    ..,
                ],
            ) if base != STACK => First::Read(offset.into()),
            _ => First::Changed,
        }
    }

    fn keeps_arguments(&self, image: &Image<'_>, at: u64) -> bool {
        decode(image, at).is_some_and(|instruction| {
            flow(image, at, &instruction) == Flow::Next
                && instruction.opcode != Opcode::Invalid
                && registers::written(&instruction).all(|register| register > 2)
        })
    }
}

/// Decodes the instruction at an address. What the decoder does not know has the opcode `Invalid`.
fn decode(image: &Image<'_>, at: u64) -> Option<Instruction> {
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

/// The encoding is of SVE or SME, which have no branches (Arm Architecture Reference Manual, C4.1).
fn is_vector(word: u32) -> bool {
    let group = word >> 25 & 0xf;
    group == 0b0010 || (group == 0 && word >> 31 == 1)
}

/// The address that `add` completes, or that `ldr` reads from a word of the image, a few instructions behind the `adrp` of its page.
fn page_and_offset(image: &Image<'_>, at: u64) -> Option<u64> {
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
    let page = (1..=MAX_APART).find_map(|back| {
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

/// Where a branch relative to its own address leads.
fn target(at: u64, instruction: &Instruction) -> Option<u64> {
    instruction
        .operands
        .iter()
        .find_map(|operand| match operand {
            Operand::PCOffset(offset) => Some(at.wrapping_add_signed(*offset)),
            _ => None,
        })
}

/// Where a `b` or `bl` leads: six bits of opcode, then the distance in words (Arm Architecture Reference Manual, C6.2).
fn branch_target(at: u64, word: u32) -> Option<u64> {
    let distance = i64::from((word << 6).cast_signed() >> 6) * LENGTH.cast_signed();
    (word & 0x7c00_0000 == 0x1400_0000).then(|| at.wrapping_add_signed(distance))
}

fn flow(image: &Image<'_>, at: u64, instruction: &Instruction) -> Flow {
    let to = target(at, instruction);
    match instruction.opcode {
        // Conditions 14 and 15 both mean "always".
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

/// The word of the image that a linkage stub jumps through: `adrp x16, page; ldr x17, [x16, #low]; add x16, x16, #low;
/// br x17`, the form that all linkers write (ELF for the Arm 64-bit Architecture, "PLT sequences"). With `-z pac-plt` the
/// pointer is authenticated before the jump.
fn linkage_word(image: &Image<'_>, at: u64, jump: &Instruction) -> Option<u64> {
    let before = |at: u64| {
        let at = at.checked_sub(LENGTH)?;
        Some((at, decode(image, at)?))
    };
    let Operand::Register(_, wanted) = jump.operands[0] else {
        return None;
    };
    let (add_at, add) =
        before(at).and_then(|(at, last)| match registers::is_hint(last.opcode) {
            true => before(at),
            false => Some((at, last)),
        })?;
    let (load_at, load) = before(add_at)?;
    let (page_at, page) = before(load_at)?;
    let is_stub = page.opcode == Opcode::ADRP
        && load.opcode == Opcode::LDR
        && add.opcode == Opcode::ADD
        && registers::written(&add).all(|register| register != wanted);
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

/// Result of an `adrp`.
fn page_address(at: u64, instruction: &Instruction) -> Option<u64> {
    match instruction.operands[1] {
        Operand::PCOffset(offset) => Some((at & !0xfff).wrapping_add_signed(offset)),
        _ => None,
    }
}

/// An immediate operand.
fn immediate(operand: &Operand) -> Option<u64> {
    match *operand {
        Operand::Immediate(number) => Some(u64::from(number)),
        Operand::Imm16(number) => Some(u64::from(number)),
        Operand::Imm64(number) => Some(number),
        Operand::ImmShift(number, shift) => u64::from(number).checked_shl(u32::from(shift)),
        _ => None,
    }
}

fn stack(instruction: &Instruction) -> Stack {
    let writes = |wanted| registers::written(instruction).any(|register| register == wanted);
    if instruction.opcode == Opcode::Invalid {
        return Stack::Lost;
    }
    if let Some((STACK, Some(bytes))) = registers::write_back(instruction) {
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

/// A store through a register other than the stack pointer.
fn writes(instruction: &Instruction) -> Option<Write> {
    if !registers::is_store(instruction.opcode) {
        return None;
    }
    let access = registers::access(instruction)?;
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

#[cfg(test)]
mod tests;
