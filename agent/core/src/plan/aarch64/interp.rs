//! The abstract machine: runs a short AArch64 function on imagined objects and notes which places it touches.
//!
//! Called through `aarch64`. It follows the rules of its x86-64 sister: pointers in objects lead to further objects, smaller
//! numbers are zero, calls are skipped, branches are decided by these values, and a run ends where it would have to guess.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

use super::arithmetic::size_of_operand;
use super::machine::{Machine, sign_extend};
use super::{decode, page_address, registers};
use crate::plan::elf::Image;
use crate::plan::isa::{Call, Flow};
use crate::plan::trace::{Trace, Value};

/// Instructions run in one call, at most.
const MAX_STEPS: usize = 4096;

/// Runs the function at `function`.
pub(super) fn run(image: &Image<'_>, function: u64, call: Call) -> Trace {
    let mut machine = Machine::new(image, call);
    let mut at = function;
    for _ in 0..MAX_STEPS {
        if call.until == Some(at) {
            machine.memory.trace.returned = Some(machine.get(SizeCode::W, 1));
            break;
        }
        let Some(instruction) = decode(image, at) else {
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
    /// Runs one instruction and says where the next one is; `None` ends the run.
    fn step(&mut self, image: &Image<'_>, at: u64, instruction: &Instruction) -> Option<u64> {
        let next = at.checked_add(super::LENGTH)?;
        match super::flow(image, at, instruction) {
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
                self.note_call();
                self.call_clobbers();
                if let Some(number) = self.memory.calls_return() {
                    self.set(SizeCode::X, 0, Value::Number(number));
                }
                Some(next)
            }
            Flow::JumpIndirect(_) => {
                let Value::Number(target) = self.read(&instruction.operands[0]) else {
                    // A tail call out of the image.
                    self.note_call();
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

    fn note_call(&mut self) {
        let arguments = [self.get(SizeCode::X, 0), self.get(SizeCode::X, 1)];
        self.memory.trace.call(arguments);
    }

    /// Whether a conditional branch is taken; `None` where that is not known.
    fn taken(&self, instruction: &Instruction) -> Option<bool> {
        let tested = || self.read(&instruction.operands[0]).concrete();
        let bit = || {
            let number = super::immediate(&instruction.operands[1])?;
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

    /// Runs one instruction that does not branch; `None` where nothing is known about it.
    pub(super) fn compute(&mut self, at: u64, instruction: &Instruction) -> Option<()> {
        let [first, second, third, fourth] = &instruction.operands;
        match instruction.opcode {
            Opcode::Invalid => return None,
            opcode if registers::is_hint(opcode) => {}
            Opcode::HINT | Opcode::PRFM | Opcode::PRFUM | Opcode::DMB(_) | Opcode::ISB => {}
            Opcode::ADR => {
                let target = super::target(at, instruction);
                self.write(first, target.map_or(Value::Unknown, Value::Number));
            }
            Opcode::ADRP => {
                let page = page_address(at, instruction);
                self.write(first, page.map_or(Value::Unknown, Value::Number));
            }
            Opcode::MOVZ => {
                let value = self.read(second);
                self.write(first, value);
            }
            Opcode::MOVN => {
                let value = match self.read(second) {
                    Value::Number(number) => Value::Number(!number),
                    _ => Value::Unknown,
                };
                self.write(first, value);
            }
            Opcode::MOVK => {
                let value = match (self.read(first), *second) {
                    (Value::Number(old), Operand::ImmShift(number, by)) if by < 64 => {
                        Value::Number(old & !(0xffff << by) | u64::from(number) << by)
                    }
                    _ => Value::Unknown,
                };
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
                let numbers = [second, third, fourth].map(|operand| self.read(operand).concrete());
                let count = |by: u64| by as u32 % (size_of_operand(first) as u32 * 8);
                let result = match (instruction.opcode, numbers) {
                    (Opcode::LSLV, [Some(a), Some(b), _]) => Some(a << count(b)),
                    (Opcode::LSRV, [Some(a), Some(b), _]) => Some(a >> count(b)),
                    (Opcode::MADD, [Some(a), Some(b), Some(c)]) => {
                        Some(a.wrapping_mul(b).wrapping_add(c))
                    }
                    _ => None,
                };
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

    /// Loads and stores; of any other instruction what it may write becomes unknown.
    fn access(&mut self, at: u64, instruction: &Instruction) {
        let Some(access) = registers::access(instruction) else {
            for register in registers::written(instruction) {
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
            if registers::is_store(instruction.opcode) {
                let value = match operand {
                    Operand::SIMDRegister(..) => Value::Unknown,
                    operand => self.read(operand),
                };
                self.memory.store(address, size, value);
            } else {
                let value = match self.memory.load(address, size) {
                    Value::Number(number) if registers::is_signed(instruction.opcode) => {
                        Value::Number(sign_extend(number, size as u32 * 8))
                    }
                    value => value,
                };
                self.write(operand, value);
            }
        }
    }
}
