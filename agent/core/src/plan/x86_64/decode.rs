//! Decoding of x86-64 instructions.

use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, Register};

use crate::plan::elf::Image;

/// Longest x86 instruction, bytes.
const MAX_INSTRUCTION: usize = 15;

/// Decodes the instruction at an address.
pub(super) fn decode(image: &Image<'_>, at: u64) -> Option<Instruction> {
    let bytes = image
        .bytes_at(at, MAX_INSTRUCTION)
        .filter(|_| image.is_code(at))?;
    let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Whether the instruction writes the register or a part of it.
pub(super) fn changes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory
        .info(instruction)
        .used_registers()
        .iter()
        .any(|used| {
            used.register().full_register() == register
                && !matches!(
                    used.access(),
                    OpAccess::Read | OpAccess::CondRead | OpAccess::None
                )
        })
}
