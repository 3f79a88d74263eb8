//! The abstract machine: runs a short AArch64 function on symbolic objects and records the places
//! that it accesses.
//!
//! The rules are those of `x86_64::interp`: pointers in objects lead to further objects, smaller
//! numbers are zero, calls are skipped, branches are decided by these values, and a run ends where
//! it would have to guess.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

use super::arithmetic::operand_size;
use super::decode::{LENGTH, decode, immediate, page_address, target};
use super::effects::flow;
use super::machine::{Machine, sign_extend};
use super::operands;
use crate::plan::elf::Image;
use crate::plan::insn::Flow;
use crate::plan::isa::Call;
use crate::plan::trace::{Trace, Value};

/// Limit of instructions in one run.
const MAX_STEPS: usize = 4096;
/// Work of one instruction, units.
const STEP: u64 = 150;

/// Runs the function at `function`.
pub(super) fn run(image: &Image<'_>, function: u64, call: Call) -> Trace {
    let mut machine = Machine::new(image, call);
    let mut at = function;
    for _ in 0..MAX_STEPS {
        if call.stop_at == Some(at) {
            machine.memory.trace.returned = Some(machine.get(SizeCode::W, 1));
            break;
        }
        let Some(instruction) = decode(image, at).filter(|_| image.charge(STEP)) else {
            break;
        };
        match machine.step(image, at, &instruction) {
            Some(next) => at = next,
            None => break,
        }
    }
    machine.memory.trace
}

impl Machine<'_, '_> {
    /// Runs one instruction and returns the address of the next one; `None` ends the run.
    fn step(&mut self, image: &Image<'_>, at: u64, instruction: &Instruction) -> Option<u64> {
        let next = at.checked_add(LENGTH)?;
        match flow(image, at, instruction) {
            Flow::Next => {
                self.compute(at, instruction)?;
                Some(next)
            }
            Flow::Jump(target) => Some(target),
            Flow::Branch(target) => Some(if self.taken(instruction)? {
                target
            } else {
                next
            }),
            Flow::Call(_) | Flow::CallIndirect(_) => {
                self.record_call();
                self.clobber_for_call();
                if let Some(number) = self.memory.call_result() {
                    self.set(SizeCode::X, 0, Value::Number(number));
                }
                Some(next)
            }
            Flow::JumpIndirect(_) => {
                let Value::Number(target) = self.read(&instruction.operands[0]) else {
                    // A tail call out of the image.
                    self.record_call();
                    return None;
                };
                Some(target)
            }
            Flow::Return => {
                self.memory.trace.returned = Some(self.get(SizeCode::X, 0));
                None
            }
            Flow::Trap => None,
        }
    }

    fn record_call(&mut self) {
        let arguments = [self.get(SizeCode::X, 0), self.get(SizeCode::X, 1)];
        self.memory.trace.call(arguments);
    }

    /// Whether a conditional branch is taken; `None` if unknown.
    fn taken(&self, instruction: &Instruction) -> Option<bool> {
        let tested = || self.read(&instruction.operands[0]).concrete();
        let bit = || {
            let number = immediate(&instruction.operands[1])?;
            Some(tested()?.checked_shr(u32::try_from(number).ok()?)? & 1 == 1)
        };
        match instruction.opcode {
            Opcode::Bcc(condition) | Opcode::BCcc(condition) => {
                Some(self.flags?.satisfy(condition))
            }
            Opcode::CBZ => Some(tested()? == 0),
            Opcode::CBNZ => Some(tested()? != 0),
            Opcode::TBZ => Some(!bit()?),
            Opcode::TBNZ => bit(),
            _ => None,
        }
    }

    /// Runs one instruction that does not branch; `None` if it was not decoded.
    pub(super) fn compute(&mut self, at: u64, instruction: &Instruction) -> Option<()> {
        let [first, second, third, fourth] = &instruction.operands;
        match instruction.opcode {
            Opcode::Invalid => return None,
            opcode if operands::is_hint(opcode) => {}
            Opcode::HINT | Opcode::PRFM | Opcode::PRFUM | Opcode::DMB(_) | Opcode::ISB => {}
            Opcode::ADR | Opcode::ADRP | Opcode::MOVZ | Opcode::MOVN | Opcode::MOVK => {
                let value = self.constant(at, instruction);
                self.write(first, value);
            }
            Opcode::ADD | Opcode::ADDS | Opcode::SUB | Opcode::SUBS => {
                self.sum(instruction.opcode, first, second, third);
            }
            Opcode::AND
            | Opcode::ANDS
            | Opcode::ORR
            | Opcode::EOR
            | Opcode::BIC
            | Opcode::BICS
            | Opcode::ORN
            | Opcode::EON => self.logic(instruction.opcode, first, second, third),
            Opcode::UBFM | Opcode::SBFM => self.bit_field(instruction),
            Opcode::LSLV | Opcode::LSRV | Opcode::MADD => {
                let result = self.shift_or_multiply(instruction);
                self.write(first, result.map_or(Value::Unknown, Value::Number));
            }
            Opcode::CSEL | Opcode::CSINC | Opcode::CSINV | Opcode::CSNEG => {
                self.select(instruction.opcode, first, second, third, fourth);
            }
            Opcode::CCMP | Opcode::CCMN => self.compare_if(instruction),
            _ => self.access(at, instruction),
        }
        Some(())
    }

    /// Returns the constant that an instruction loads, or inserts into a register.
    fn constant(&self, at: u64, instruction: &Instruction) -> Value {
        let [first, second, ..] = &instruction.operands;
        match instruction.opcode {
            Opcode::ADR => target(at, instruction).map_or(Value::Unknown, Value::Number),
            Opcode::ADRP => page_address(at, instruction).map_or(Value::Unknown, Value::Number),
            Opcode::MOVZ => self.read(second),
            Opcode::MOVN => match self.read(second) {
                Value::Number(number) => Value::Number(!number),
                _ => Value::Unknown,
            },
            _ => match (self.read(first), *second) {
                (Value::Number(old), Operand::ImmShift(number, by)) if by < 64 => {
                    Value::Number(old & !(0xffff << by) | u64::from(number) << by)
                }
                _ => Value::Unknown,
            },
        }
    }

    /// Returns the result of a shift by a register, or of a multiplication with addition.
    fn shift_or_multiply(&self, instruction: &Instruction) -> Option<u64> {
        let [first, operands @ ..] = &instruction.operands;
        let numbers = operands
            .each_ref()
            .map(|operand| self.read(operand).concrete());
        let count = |by: u64| by as u32 % (operand_size(first) as u32 * 8);
        match (instruction.opcode, numbers) {
            (Opcode::LSLV, [Some(a), Some(b), _]) => Some(a << count(b)),
            (Opcode::LSRV, [Some(a), Some(b), _]) => Some(a >> count(b)),
            (Opcode::MADD, [Some(a), Some(b), Some(c)]) => Some(a.wrapping_mul(b).wrapping_add(c)),
            _ => None,
        }
    }

    /// Runs loads and stores. Any other instruction sets the registers that it may write to
    /// unknown.
    fn access(&mut self, at: u64, instruction: &Instruction) {
        let Some(access) = operands::access(instruction) else {
            for register in operands::written(instruction) {
                self.set(SizeCode::X, register, Value::Unknown);
            }
            // Arithmetic with carry and comparisons of floating-point numbers.
            self.flags = None;
            return;
        };
        let size = access.size;
        let start = self.address(at, access.address);
        for (index, operand) in instruction.operands.iter().take(access.count).enumerate() {
            let address = start.plus((index * size) as i64);
            if operands::is_store(instruction.opcode) {
                let value = match operand {
                    Operand::SIMDRegister(..) => Value::Unknown,
                    operand => self.read(operand),
                };
                self.memory.store(address, size, value);
            } else {
                let value = match self.memory.load(address, size) {
                    Value::Number(number) if operands::is_signed(instruction.opcode) => {
                        Value::Number(sign_extend(number, size as u32 * 8))
                    }
                    value => value,
                };
                self.write(operand, value);
            }
        }
    }
}
