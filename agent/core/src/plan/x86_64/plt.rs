//! Linkage stubs (System V ABI, x86-64 supplement, "Procedure Linkage Table"), through which an
//! image calls functions of another image.

use crate::plan::elf::Image;
use crate::plan::insn::{Flow, Insn};
use crate::plan::isa::Isa;

/// `jmp [rip + …]` without its distance. A `bnd` prefix may precede it.
const JUMP: [u8; 2] = [0xff, 0x25];
/// Size of the jump, bytes.
const SIZE: u64 = 6;
/// Alignment of stubs, bytes; two short ones (`.plt.got`) fit into one unit.
const STUB: u64 = 16;

/// Implements [`Isa::plt_jumps`].
pub(super) fn jumps(isa: &dyn Isa, image: &Image<'_>, word: u64) -> Vec<Insn> {
    let mut candidates = Vec::new();
    image.search_code(&JUMP, SIZE as usize, |at, bytes| {
        let distance = bytes.get(2..6).and_then(|bytes| bytes.try_into().ok());
        let distance = distance.map(i32::from_le_bytes).map(i64::from);
        let target = distance.and_then(|distance| (at + SIZE).checked_add_signed(distance));
        if target == Some(word) {
            candidates.push(at);
        }
    });
    candidates
        .into_iter()
        .filter_map(|at| jump(isa, image, at, word))
        .collect()
}

/// The jump that contains the byte at `at`, if decoding from the start of its stub reaches it.
fn jump(isa: &dyn Isa, image: &Image<'_>, at: u64, word: u64) -> Option<Insn> {
    let mut next = at - at % STUB;
    while next <= at {
        let insn = isa.lift(image, next)?;
        if insn.flow == Flow::JumpIndirect(Some(word)) {
            return (insn.next == at.checked_add(SIZE)?).then_some(insn);
        }
        next = insn.next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{CODE, elf_from_code, image_from_file};
    use crate::plan::x86_64::X86_64;

    /// Offsets in the code of the jumps through the word 0x1000 after its start.
    fn found(code: &[u8]) -> Vec<u64> {
        let image = image_from_file(&elf_from_code(code));
        let jumps = jumps(&X86_64, &image, CODE + 0x1000);
        jumps.iter().map(|insn| insn.at - CODE).collect()
    }

    fn jump_from(at: u32) -> Vec<u8> {
        [&JUMP[..], &(0x1000 - at - 6).to_le_bytes()].concat()
    }

    #[test]
    fn every_kind_of_stub_is_found_at_its_jump() {
        let lazy = [&jump_from(0)[..], &[0x68, 1, 0, 0, 0, 0xe9, 0, 0, 0, 0]].concat();
        assert_eq!(found(&lazy), [0]);
        let endbr = [0xf3, 0x0f, 0x1e, 0xfa];
        assert_eq!(found(&[&endbr[..], &jump_from(4)].concat()), [4]);
        // With `bnd`: the jump begins at its prefix.
        assert_eq!(found(&[&endbr[..], &[0xf2], &jump_from(5)].concat()), [4]);
        // The second of two short ones.
        let short = [&[0xff, 0x25, 0, 0, 0, 0, 0x66, 0x90][..], &jump_from(8)];
        assert_eq!(found(&short.concat()), [8]);
    }

    #[test]
    fn bytes_inside_an_instruction_are_no_stub() {
        // mov rax, imm64, which holds the bytes of a jump.
        let mut code = vec![0x48, 0xb8];
        code.extend(jump_from(2));
        code.extend([0, 0, 0xc3]);
        assert!(found(&code).is_empty());
        // Through another word.
        assert!(found(&jump_from(8)).is_empty());
    }
}
