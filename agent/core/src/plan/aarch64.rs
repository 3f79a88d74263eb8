//! The AArch64 instruction set.
//!
//! `decode`, `operands` and `effects` describe single instructions, `probes` describes how the
//! kernel treats a probe on them, `interp` runs functions abstractly on a `machine` with its
//! `arithmetic`, `jump_table` reads jump tables.

mod arithmetic;
mod decode;
mod effects;
mod interp;
mod jump_table;
mod machine;
mod operands;
mod probes;

use std::collections::BTreeSet;
use std::ops::Range;

use yaxpeax_arm::armv8::a64::{Opcode, Operand, SizeCode};

use super::elf::Image;
use super::insn::{FirstArgument, Flow, Insn};
use super::isa::{Call, Isa};
use super::trace::Trace;
use decode::{LENGTH, decode};
use operands::STACK;

/// `br x17`, the last instruction of linkage stubs (ELF for the Arm 64-bit Architecture, "Procedure
/// Linkage Table").
const BR_X17: [u8; 4] = 0xd61f_0220_u32.to_le_bytes();
/// Limit of such instructions in one file.
const MAX_STUBS: usize = 1 << 14;

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
            flow: effects::flow(image, at, &instruction),
            stack: effects::stack(&instruction),
            emulated: probes::is_emulated(&instruction),
            refused: probes::is_refused(&instruction),
            writes: effects::writes(&instruction),
        })
    }

    fn jump_table_targets(&self, image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>> {
        jump_table::targets(image, path)
    }

    fn interpret(&self, image: &Image<'_>, function: u64, call: Call) -> Trace {
        interp::run(image, function, call)
    }

    fn referenced_addresses(&self, image: &Image<'_>, at: u64) -> Vec<u64> {
        decode::page_and_offset(image, at).into_iter().collect()
    }

    fn plt_jumps(&self, image: &Image<'_>, word: u64) -> Vec<Insn> {
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

    fn direct_calls(
        &self,
        image: &Image<'_>,
        range: Range<u64>,
        targets: &BTreeSet<u64>,
    ) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        image.search_range(range, LENGTH as usize, |start, part| {
            // A part need not begin at an instruction.
            let skip = start.wrapping_neg() % LENGTH;
            let words = part.get(skip as usize..).unwrap_or_default();
            for (index, word) in words.chunks_exact(LENGTH as usize).enumerate() {
                let at = start + skip + index as u64 * LENGTH;
                let word = word.try_into().map_or(0, u32::from_le_bytes);
                if decode::branch_target(at, word).is_some_and(|target| targets.contains(&target)) {
                    found.insert(at);
                }
            }
        });
        found
    }

    fn first_argument_effect(&self, image: &Image<'_>, at: u64) -> FirstArgument {
        let Some(instruction) = decode(image, at) else {
            return FirstArgument::Overwritten;
        };
        if instruction.opcode == Opcode::Invalid {
            return FirstArgument::Overwritten;
        }
        if operands::written(&instruction).all(|register| register != 0) {
            return FirstArgument::Unchanged;
        }
        match (instruction.opcode, instruction.operands) {
            (
                Opcode::LDR,
                [
                    Operand::Register(SizeCode::X, 0),
                    Operand::RegPreIndex(base, offset, false),
                    ..,
                ],
            ) if base != STACK => FirstArgument::Loaded(offset.into()),
            _ => FirstArgument::Overwritten,
        }
    }

    fn preserves_arguments(&self, image: &Image<'_>, at: u64) -> bool {
        decode(image, at).is_some_and(|instruction| {
            effects::flow(image, at, &instruction) == Flow::Next
                && instruction.opcode != Opcode::Invalid
                && operands::written(&instruction).all(|register| register > 2)
        })
    }
}

#[cfg(test)]
mod tests;
