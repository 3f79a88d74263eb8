//! The x86-64 instruction set.
//!
//! `decode` and `effects` describe single instructions, `interp` runs functions abstractly on a
//! `registers` file with an `alu`, `jump_table` reads jump tables, `plt` finds linkage stubs.

mod alu;
mod decode;
mod effects;
mod interp;
mod jump_table;
mod plt;
mod registers;

use std::collections::BTreeSet;
use std::ops::Range;

use iced_x86::{FlowControl, Mnemonic, OpKind, Register};

use super::elf::Image;
use super::insn::{FirstArgument, Insn};
use super::isa::{Call, Isa};
use super::trace::Trace;
use decode::{changes, decode};

/// Length of a direct `call` or `jmp`, bytes.
const DIRECT: u64 = 5;

/// The x86-64 instruction set.
pub(super) struct X86_64;

impl Isa for X86_64 {
    fn name(&self) -> &'static str {
        "x86_64"
    }

    fn lift(&self, image: &Image<'_>, at: u64) -> Option<Insn> {
        let instruction = decode(image, at)?;
        let bytes = image.bytes_at(at, instruction.len())?;
        Some(Insn {
            at,
            next: instruction.next_ip(),
            flow: effects::flow(&instruction)?,
            stack: effects::stack(&instruction),
            emulated: effects::is_emulated(bytes),
            refused: false,
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
        let Some(instruction) = decode(image, at) else {
            return Vec::new();
        };
        if instruction.is_ip_rel_memory_operand() {
            let address = instruction.ip_rel_memory_address();
            return match instruction.mnemonic() {
                Mnemonic::Lea => vec![address],
                // Compilers load two neighbouring pointers at once.
                _ => [Some(address), address.checked_add(8)]
                    .into_iter()
                    .filter_map(|word| image.pointer(word?))
                    .collect(),
            };
        }
        // Position-dependent code.
        match (instruction.mnemonic(), instruction.try_immediate(1)) {
            (Mnemonic::Mov, Ok(number)) => vec![number],
            _ => Vec::new(),
        }
    }

    fn plt_jumps(&self, image: &Image<'_>, word: u64) -> Vec<Insn> {
        plt::jumps(self, image, word)
    }

    fn direct_calls(
        &self,
        image: &Image<'_>,
        range: Range<u64>,
        targets: &BTreeSet<u64>,
    ) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        image.search_range(range, DIRECT as usize, |start, part| {
            for (inside, bytes) in part.windows(DIRECT as usize).enumerate() {
                let [0xe8 | 0xe9, distance @ ..] = bytes else {
                    continue;
                };
                let at = start + inside as u64;
                let distance = distance.try_into().map_or(0, i32::from_le_bytes);
                let target = at.wrapping_add(DIRECT).wrapping_add_signed(distance.into());
                if targets.contains(&target) {
                    found.insert(at);
                }
            }
        });
        found
    }

    fn first_argument_effect(&self, image: &Image<'_>, at: u64) -> FirstArgument {
        match decode(image, at) {
            Some(insn) if !changes(&insn, Register::RDI) => FirstArgument::Unchanged,
            Some(insn)
                if insn.mnemonic() == Mnemonic::Mov
                    && insn.op0_register() == Register::RDI
                    && insn.op1_kind() == OpKind::Memory
                    && insn.memory_index() == Register::None
                    && !matches!(insn.memory_base(), Register::RSP | Register::RIP) =>
            {
                FirstArgument::Loaded(insn.memory_displacement64().cast_signed())
            }
            _ => FirstArgument::Overwritten,
        }
    }

    fn preserves_arguments(&self, image: &Image<'_>, at: u64) -> bool {
        decode(image, at).is_some_and(|instruction| {
            instruction.flow_control() == FlowControl::Next
                && ![Register::RDI, Register::RSI, Register::RDX]
                    .iter()
                    .any(|register| changes(&instruction, *register))
        })
    }
}
