//! Jump tables of x86-64 code: the targets of a `switch`'s computed jump.
//!
//! The table and its bound are read from the instructions before the jump. Every entry within the
//! bound must point to code, otherwise it is not a table.

use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::decode::{changes, decode};
use crate::plan::elf::Image;

/// Limit of entries of a jump table.
const MAX_CASES: u64 = 512;
/// Limit of entries where no comparison bounds the table.
const MAX_UNBOUNDED_CASES: u64 = 64;
/// Limit of instructions before an indirect jump in which its bound is searched.
const BOUND_WINDOW: usize = 24;

/// Returns the targets of the indirect jump that ends `path`.
pub(super) fn targets(image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>> {
    let path: Vec<Instruction> = path.iter().map_while(|at| decode(image, *at)).collect();
    let (jump, before) = path.split_last()?;
    let table = Table::from_path(jump, before)?;
    let bound = bound(before);
    let mut targets = Vec::new();
    for index in 0..bound.unwrap_or(MAX_UNBOUNDED_CASES) {
        let target = table
            .target(image, index)
            .filter(|target| image.is_code(*target));
        match (target, bound) {
            (Some(target), Some(_)) => targets.push(target),
            (Some(target), None) if image.same_function(target, jump.ip()) => {
                targets.push(target);
            }
            // An entry within the bound points to no code: this is not the table.
            (None, Some(_)) => return None,
            (_, None) => break,
        }
    }
    (!targets.is_empty()).then_some(targets)
}

/// A jump table.
struct Table {
    at: u64,
    /// Entries are 32-bit distances from the table (position-independent code) instead of
    /// addresses.
    relative: bool,
}

impl Table {
    /// Finds the table of an indirect jump from the instructions before it. GCC and Clang write
    /// either `jmp [table + index * 8]`, or
    /// `lea base, table; movsxd r, [base + index * 4]; add r, base; jmp r`.
    fn from_path(jump: &Instruction, before: &[Instruction]) -> Option<Self> {
        if jump.op0_kind() == OpKind::Memory {
            if jump.memory_index_scale() != 8 || jump.memory_index() == Register::None {
                return None;
            }
            let at = match jump.memory_base() {
                Register::None => jump.memory_displacement64(),
                base => address_in(base, before)?.wrapping_add(jump.memory_displacement64()),
            };
            return Some(Self {
                at,
                relative: false,
            });
        }
        let mut wanted = jump.op0_register();
        for (index, instruction) in before.iter().enumerate().rev().take(BOUND_WINDOW) {
            if !changes(instruction, wanted) {
                continue;
            }
            let earlier = before.get(..index)?;
            let (base, scale) = (instruction.memory_base(), instruction.memory_index_scale());
            match instruction.mnemonic() {
                Mnemonic::Add if instruction.op1_kind() == OpKind::Register => {
                    // The sum of an entry and the table; either may be in the target register.
                    let (a, b) = (instruction.op0_register(), instruction.op1_register());
                    wanted = if is_table_entry(a, earlier) { a } else { b };
                }
                Mnemonic::Movsxd if scale == 4 => {
                    let at = address_in(base, earlier)?
                        .wrapping_add(instruction.memory_displacement64());
                    return Some(Self { at, relative: true });
                }
                Mnemonic::Mov if instruction.op1_kind() == OpKind::Memory && scale == 8 => {
                    let at = match base {
                        Register::None => 0,
                        base => address_in(base, earlier)?,
                    };
                    return Some(Self {
                        at: at.wrapping_add(instruction.memory_displacement64()),
                        relative: false,
                    });
                }
                _ => return None,
            }
        }
        None
    }

    fn target(&self, image: &Image<'_>, index: u64) -> Option<u64> {
        if self.relative {
            let entry = image.constant(self.at.checked_add(index.checked_mul(4)?)?, 4)?;
            Some(
                self.at
                    .wrapping_add_signed(i64::from(u32::try_from(entry).ok()?.cast_signed())),
            )
        } else {
            image.pointer(self.at.checked_add(index.checked_mul(8)?)?)
        }
    }
}

/// Whether the last write to `register` loads an entry of a table of distances.
fn is_table_entry(register: Register, before: &[Instruction]) -> bool {
    let write = before
        .iter()
        .rev()
        .find(|instruction| changes(instruction, register));
    write.is_some_and(|write| {
        write.mnemonic() == Mnemonic::Movsxd && write.memory_index_scale() == 4
    })
}

/// The address that the code before loads into `register`.
fn address_in(mut register: Register, before: &[Instruction]) -> Option<u64> {
    for instruction in before.iter().rev() {
        if !changes(instruction, register) {
            continue;
        }
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                return Some(instruction.ip_rel_memory_address());
            }
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
                register = instruction.op1_register();
            }
            Mnemonic::Mov => return instruction.try_immediate(1).ok(),
            _ => return None,
        }
    }
    None
}

/// The number of entries that the comparison before an indirect jump admits.
fn bound(before: &[Instruction]) -> Option<u64> {
    let mut condition = None;
    for instruction in before.iter().rev().take(BOUND_WINDOW) {
        if instruction.flow_control() == FlowControl::ConditionalBranch && condition.is_none() {
            condition = Some(instruction.condition_code());
        } else if instruction.mnemonic() == Mnemonic::Cmp && condition.is_some() {
            let limit = instruction.try_immediate(1).ok()?;
            let entries = match condition? {
                ConditionCode::a | ConditionCode::be => limit.checked_add(1)?,
                ConditionCode::ae | ConditionCode::b => limit,
                _ => return None,
            };
            return (1..=MAX_CASES).contains(&entries).then_some(entries);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{CODE, elf_from_code, image_from_file};

    /// A switch over three cases in position-independent code; a fourth number follows its table.
    const SWITCH: [u8; 44] = [
        0x83, 0xff, 0x02, // cmp edi, 2
        0x77, 0x16, // ja 1b
        0x48, 0x8d, 0x15, 0x10, 0, 0, 0, // lea rdx, [1c]
        0x48, 0x63, 0x04, 0xba, // movsxd rax, [rdx+rdi*4]
        0x48, 0x01, 0xd0, // add rax, rdx
        0x3e, 0xff, 0xe0, // 13: notrack jmp rax
        0x50, 0x58, 0xc3, // 16: push rax; pop rax; ret
        0xc3, 0xc3, 0xc3, // 19, 1a: ret; 1b: ret
        0xfa, 0xff, 0xff, 0xff, 0xfd, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0x40,
    ];

    fn cases(code: &[u8], path: &[u64]) -> Option<Vec<u64>> {
        let bytes = elf_from_code(code);
        let image = image_from_file(&bytes);
        let path: Vec<u64> = path.iter().map(|at| CODE + at).collect();
        Some(targets(&image, &path)?.iter().map(|at| at - CODE).collect())
    }

    #[test]
    fn table_is_read_up_to_its_bound() {
        assert_eq!(
            cases(&SWITCH, &[0, 3, 5, 0xc, 0x10, 0x13]),
            Some(vec![0x16, 0x19, 0x1a])
        );
    }

    #[test]
    fn table_without_a_bound_ends_at_the_first_entry_outside_code() {
        assert_eq!(
            cases(&SWITCH, &[5, 0xc, 0x10, 0x13]),
            Some(vec![0x16, 0x19, 0x1a])
        );
    }

    #[test]
    fn entry_within_the_bound_must_point_to_code() {
        let mut code = SWITCH;
        code[2] = 3; // cmp edi, 3
        assert_eq!(cases(&code, &[0, 3, 5, 0xc, 0x10, 0x13]), None);
    }

    #[test]
    fn jump_without_a_table_has_no_targets() {
        assert_eq!(cases(&SWITCH, &[0, 3, 0x13]), None);
    }
}
