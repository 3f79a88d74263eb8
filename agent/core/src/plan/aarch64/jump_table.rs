//! Jump tables of AArch64 code: the targets of a `switch`'s computed jump.
//!
//! Compilers write many forms of them (entries of one, two or four bytes, signed or not, scaled or
//! not), so no form is matched: the instructions from the comparison that bounds the table to the
//! jump are run once for each number that it admits.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

use super::decode::{decode, immediate};
use super::effects::flow;
use super::machine::Machine;
use crate::plan::elf::Image;
use crate::plan::insn::Flow;
use crate::plan::isa::Call;
use crate::plan::trace::Value;

/// Limit of entries of a jump table.
const MAX_CASES: u64 = 512;
/// Limit of instructions before an indirect jump in which its bound is searched.
const BOUND_WINDOW: usize = 24;
/// Work of one instruction, units.
const STEP: u64 = 150;

/// Returns the targets of the indirect jump that ends `path`.
pub(super) fn targets(image: &Image<'_>, path: &[u64]) -> Option<Vec<u64>> {
    let path: Vec<(u64, Instruction)> = path
        .iter()
        .map_while(|at| Some((*at, decode(image, *at)?)))
        .collect();
    let ((_, jump), before) = path.split_last()?;
    let bound = Bound::from_path(before)?;
    let mut machine = Machine::blank(image, Call::default());
    let (prefix, rest) = before.split_at_checked(bound.at)?;
    for step in prefix {
        run_step(&mut machine, image, step)?;
    }
    let mut targets = Vec::new();
    for index in 0..bound.entries {
        if !machine.memory.charge_copy() {
            return None;
        }
        let mut machine = machine.clone();
        machine.set(SizeCode::X, bound.register, Value::Number(index));
        for step in rest {
            run_step(&mut machine, image, step)?;
        }
        match machine.read(&jump.operands[0]) {
            Value::Number(target) if image.is_code(target) => targets.push(target),
            // An entry within the bound points to no code: this is not the table.
            _ => return None,
        }
    }
    targets.dedup();
    (!targets.is_empty()).then_some(targets)
}

/// Runs an instruction of a path that is known to be executed.
fn run_step(
    machine: &mut Machine<'_, '_>,
    image: &Image<'_>,
    (at, instruction): &(u64, Instruction),
) -> Option<()> {
    if !image.charge(STEP) {
        return None;
    }
    match flow(image, *at, instruction) {
        Flow::Next => machine.compute(*at, instruction),
        Flow::Call(_) | Flow::CallIndirect(_) => {
            machine.clobber_for_call();
            Some(())
        }
        _ => Some(()),
    }
}

/// The comparison that bounds a table.
struct Bound {
    /// Index of the comparison in the path.
    at: usize,
    /// Register that it compares.
    register: u16,
    /// Count of the numbers that it admits, from 0.
    entries: u64,
}

impl Bound {
    /// Finds the last unsigned comparison with a number before a conditional branch.
    fn from_path(path: &[(u64, Instruction)]) -> Option<Self> {
        let mut condition = None;
        for (at, (_, instruction)) in path.iter().enumerate().rev().take(BOUND_WINDOW) {
            match (instruction.opcode, condition) {
                (Opcode::Bcc(found), None) => condition = Some(found),
                (Opcode::SUBS, Some(condition)) => {
                    let (Operand::Register(_, register) | Operand::RegisterOrSP(_, register)) =
                        instruction.operands[1]
                    else {
                        return None;
                    };
                    let limit = immediate(&instruction.operands[2])?;
                    let entries = match condition {
                        // hi, ls
                        8 | 9 => limit.checked_add(1)?,
                        // hs, lo
                        2 | 3 => limit,
                        _ => return None,
                    };
                    return (1..=MAX_CASES).contains(&entries).then_some(Self {
                        at,
                        register,
                        entries,
                    });
                }
                _ => {}
            }
        }
        None
    }
}
