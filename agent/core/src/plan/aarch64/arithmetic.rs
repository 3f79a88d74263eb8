//! The integer operations that the abstract AArch64 machine evaluates.
//!
//! Any other operation has an unknown result, never a wrong one.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand};

use super::decode::immediate;
use super::machine::{Flags, Machine, add_with_carry, bytes, logical_flags, sign_extend, truncate};
use crate::plan::trace::Value;

impl Machine<'_, '_> {
    /// Runs `add`, `sub` and their comparing forms. A pointer plus or minus a number stays a
    /// pointer.
    pub(super) fn sum(
        &mut self,
        opcode: Opcode,
        first: &Operand,
        second: &Operand,
        third: &Operand,
    ) {
        let size = operand_size(first);
        let (a, b) = (self.read(second), self.read(third));
        let subtracts = matches!(opcode, Opcode::SUB | Opcode::SUBS);
        let evaluated = a
            .concrete()
            .zip(b.concrete())
            .map(|(a, b)| match subtracts {
                true => add_with_carry(a, !b, true, size),
                false => add_with_carry(a, b, false, size),
            });
        if matches!(opcode, Opcode::ADDS | Opcode::SUBS) {
            self.flags = evaluated.map(|(_, flags)| flags);
        }
        let value = match (subtracts, a, b) {
            (_, a, Value::Number(0)) => a,
            (false, Value::Number(0), b) => b,
            (false, Value::Pointer(_) | Value::Stack(_), b) if size == 8 => b
                .concrete()
                .map_or(Value::Unknown, |number| a.plus(number.cast_signed())),
            (false, Value::Number(number), Value::Pointer(_)) if size == 8 => {
                b.plus(number.cast_signed())
            }
            (true, Value::Pointer(_) | Value::Stack(_), Value::Number(number)) if size == 8 => {
                a.plus(number.cast_signed().wrapping_neg())
            }
            (_, Value::Pointer(_) | Value::Stack(_), _)
            | (_, _, Value::Pointer(_) | Value::Stack(_)) => Value::Unknown,
            _ => evaluated.map_or(Value::Unknown, |(sum, _)| Value::Number(sum)),
        };
        self.write(first, value);
    }

    /// Runs the logical operations.
    pub(super) fn logic(
        &mut self,
        opcode: Opcode,
        first: &Operand,
        second: &Operand,
        third: &Operand,
    ) {
        let size = operand_size(first);
        let (a, b) = (self.read(second), self.read(third));
        let numbers = a.concrete().zip(b.concrete());
        let result = numbers.map(|(a, b)| {
            let result = match opcode {
                Opcode::AND | Opcode::ANDS => a & b,
                Opcode::ORR => a | b,
                Opcode::EOR => a ^ b,
                Opcode::BIC | Opcode::BICS => a & !b,
                Opcode::ORN => a | !b,
                _ => a ^ !b,
            };
            truncate(result, size)
        });
        if matches!(opcode, Opcode::ANDS | Opcode::BICS) {
            self.flags = result.map(|result| logical_flags(result, size));
        }
        let value = match (opcode, a, b) {
            // `mov` between registers.
            (Opcode::ORR, Value::Number(0), b) => b,
            (Opcode::ORR, a, Value::Number(0)) => a,
            // Alignment of the stack pointer.
            (Opcode::AND, Value::Stack(_), _) => a,
            (_, Value::Pointer(_) | Value::Stack(_), _)
            | (_, _, Value::Pointer(_) | Value::Stack(_)) => Value::Unknown,
            _ => result.map_or(Value::Unknown, Value::Number),
        };
        self.write(first, value);
    }

    /// Runs `ubfm` and `sbfm`, which encode all shifts by a constant and all extensions.
    pub(super) fn bit_field(&mut self, instruction: &Instruction) {
        let [first, second, third, fourth] = &instruction.operands;
        let bits = operand_size(first) as u32 * 8;
        let source = self.read(second);
        let places = immediate(third).zip(immediate(fourth));
        let value = match (source, places) {
            // An extension of a field.
            (Value::Field(_), Some((0, _))) => source,
            (Value::Number(_) | Value::Field(_), Some((rotate, last)))
                if rotate < u64::from(bits) && last < u64::from(bits) =>
            {
                let number = source.concrete().unwrap_or(0);
                let (rotate, last) = (rotate as u32, last as u32);
                let is_signed = instruction.opcode == Opcode::SBFM;
                // Bits `rotate` to `last` move to the bottom, or bits up to `last` move up.
                let (low, width, up) = match last >= rotate {
                    true => (rotate, last - rotate + 1, 0),
                    false => (0, last + 1, bits - rotate),
                };
                let field = number >> low & (u64::MAX >> (64 - width));
                let field = match is_signed {
                    true => sign_extend(field, width),
                    false => field,
                };
                Value::Number(truncate(field << up, bits as usize / 8))
            }
            _ => Value::Unknown,
        };
        self.write(first, value);
    }

    /// Runs the conditional selections.
    pub(super) fn select(
        &mut self,
        opcode: Opcode,
        first: &Operand,
        second: &Operand,
        third: &Operand,
        condition: &Operand,
    ) {
        let holds = match *condition {
            Operand::ConditionCode(condition) => self.flags.map(|flags| flags.satisfy(condition)),
            _ => None,
        };
        let value = match (holds, opcode) {
            (Some(true), _) => self.read(second),
            (Some(false), Opcode::CSEL) => self.read(third),
            (Some(false), opcode) => self
                .read(third)
                .concrete()
                .map_or(Value::Unknown, |number| {
                    Value::Number(match opcode {
                        Opcode::CSINC => number.wrapping_add(1),
                        Opcode::CSINV => !number,
                        _ => number.wrapping_neg(),
                    })
                }),
            (None, _) => Value::Unknown,
        };
        self.write(first, value);
    }

    /// Runs `ccmp` and `ccmn`, which compare if a condition holds, and else set the flags that they
    /// encode.
    pub(super) fn compare_if(&mut self, instruction: &Instruction) {
        let [first, second, flags, condition] = &instruction.operands;
        let holds = match *condition {
            Operand::ConditionCode(condition) => self.flags.map(|flags| flags.satisfy(condition)),
            _ => None,
        };
        let numbers = self
            .read(first)
            .concrete()
            .zip(self.read(second).concrete());
        let size = operand_size(first);
        self.flags = match holds {
            Some(true) => numbers.map(|(a, b)| match instruction.opcode {
                Opcode::CCMP => add_with_carry(a, !b, true, size).1,
                _ => add_with_carry(a, b, false, size).1,
            }),
            Some(false) => immediate(flags).map(Flags::from_bits),
            None => None,
        };
    }
}

/// Returns the size of a register operand, bytes.
pub(super) fn operand_size(operand: &Operand) -> usize {
    match *operand {
        Operand::Register(size, _) | Operand::RegisterOrSP(size, _) => bytes(size),
        _ => 8,
    }
}
