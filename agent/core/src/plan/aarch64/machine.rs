//! Registers, operands and flags of the abstract AArch64 machine, which lives for one run.
//!
//! An operand that is not modelled has an unknown value, never a wrong one.

use yaxpeax_arm::armv8::a64::{Operand, ShiftStyle, SizeCode};

use super::decode::immediate;
use super::operands::STACK;
use crate::plan::elf::Image;
use crate::plan::isa::Call;
use crate::plan::memory::Memory;
use crate::plan::trace::Value;

/// The condition flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) negative: bool,
    pub(super) zero: bool,
    pub(super) carry: bool,
    pub(super) overflow: bool,
}

/// State of the machine.
#[derive(Clone)]
pub(super) struct Machine<'m, 'a> {
    /// x0 to x30, and the stack pointer.
    registers: [Value; 32],
    /// The condition flags, where known.
    pub(super) flags: Option<Flags>,
    /// Memory that the run sees.
    pub(super) memory: Memory<'m, 'a>,
}

/// Returns the size of a register, bytes.
pub(super) fn bytes(size: SizeCode) -> usize {
    match size {
        SizeCode::X => 8,
        SizeCode::W => 4,
    }
}

/// Truncates `number` to `size` bytes.
pub(super) fn truncate(number: u64, size: usize) -> u64 {
    match size {
        0..8 => number & ((1 << (size * 8)) - 1),
        _ => number,
    }
}

/// Extends the lowest `bits` of `number` with their sign.
pub(super) fn sign_extend(number: u64, bits: u32) -> u64 {
    let shift = 64_u32.saturating_sub(bits);
    let up = number.checked_shl(shift).unwrap_or(0).cast_signed();
    up.checked_shr(shift).unwrap_or(0).cast_unsigned()
}

/// Returns sum and flags: `AddWithCarry` of the Arm Architecture Reference Manual, shared
/// pseudocode.
pub(super) fn add_with_carry(a: u64, b: u64, carry: bool, size: usize) -> (u64, Flags) {
    let (a, b) = (truncate(a, size), truncate(b, size));
    let bits = size as u32 * 8;
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    let sum = truncate(wide as u64, size);
    let negative = |number| sign_extend(number, bits).cast_signed() < 0;
    let flags = Flags {
        negative: negative(sum),
        zero: sum == 0,
        carry: wide >> bits != 0,
        overflow: negative(a) == negative(b) && negative(sum) != negative(a),
    };
    (sum, flags)
}

/// Returns the flags of a logical operation.
pub(super) fn logical_flags(result: u64, size: usize) -> Flags {
    Flags {
        negative: sign_extend(result, size as u32 * 8).cast_signed() < 0,
        zero: truncate(result, size) == 0,
        carry: false,
        overflow: false,
    }
}

impl Flags {
    /// Decodes the four flag bits of `ccmp`.
    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            negative: bits & 8 != 0,
            zero: bits & 4 != 0,
            carry: bits & 2 != 0,
            overflow: bits & 1 != 0,
        }
    }

    /// Whether a condition holds (Arm Architecture Reference Manual, C1.2.4).
    pub(super) fn satisfy(self, condition: u8) -> bool {
        let holds = match condition >> 1 & 7 {
            0 => self.zero,
            1 => self.carry,
            2 => self.negative,
            3 => self.overflow,
            4 => self.carry && !self.zero,
            5 => self.negative == self.overflow,
            6 => self.negative == self.overflow && !self.zero,
            _ => return true,
        };
        holds != (condition & 1 == 1)
    }
}

impl<'m, 'a> Machine<'m, 'a> {
    /// Creates a machine before the first instruction of a function.
    pub(super) fn new(image: &'m Image<'a>, call: Call) -> Self {
        let mut machine = Self::blank(image, call);
        let arguments = machine.memory.arguments();
        // Procedure Call Standard for the Arm 64-bit Architecture, section 6.8.2.
        for (register, value) in machine.registers.iter_mut().zip(arguments) {
            *register = value;
        }
        machine
    }

    /// Creates a machine in which only the stack pointer is known.
    pub(super) fn blank(image: &'m Image<'a>, call: Call) -> Self {
        let mut machine = Self {
            registers: [Value::Unknown; 32],
            flags: None,
            memory: Memory::new(image, call),
        };
        machine.set(SizeCode::X, STACK, Value::Stack(0));
        machine
    }

    /// Returns the value of a register; 31 is the stack pointer.
    pub(super) fn get(&self, size: SizeCode, register: u16) -> Value {
        let whole = self
            .registers
            .get(usize::from(register))
            .copied()
            .unwrap_or(Value::Unknown);
        match (whole, size) {
            (Value::Pointer(_), SizeCode::W) => self.memory.narrowed(whole),
            _ => narrow(whole, bytes(size)),
        }
    }

    /// Writes a value to a register; 31 is the stack pointer. A 32-bit write clears the upper half.
    pub(super) fn set(&mut self, size: SizeCode, register: u16, value: Value) {
        if let Some(slot) = self.registers.get_mut(usize::from(register)) {
            *slot = narrow(value, bytes(size));
        }
    }

    /// Sets the registers that a call may change to unknown (Procedure Call Standard, section
    /// 6.1.1).
    pub(super) fn clobber_for_call(&mut self) {
        for register in (0..=18).chain([30]) {
            self.set(SizeCode::X, register, Value::Unknown);
        }
        self.flags = None;
    }

    /// Returns the value of an operand that is a register or a number.
    pub(super) fn read(&self, operand: &Operand) -> Value {
        match *operand {
            Operand::Register(_, 31) => Value::Number(0),
            Operand::Register(size, number) | Operand::RegisterOrSP(size, number) => {
                self.get(size, number)
            }
            Operand::RegShift(style, amount, size, number) => {
                let value = match number {
                    31 => Value::Number(0),
                    number => self.get(size, number),
                };
                shift(value, style, u32::from(amount), bytes(size))
            }
            ref other => immediate(other).map_or(Value::Unknown, Value::Number),
        }
    }

    /// Writes a value to an operand that is a general register.
    pub(super) fn write(&mut self, operand: &Operand, value: Value) {
        match *operand {
            Operand::Register(_, 31) => {}
            Operand::Register(size, number) | Operand::RegisterOrSP(size, number) => {
                self.set(size, number, value);
            }
            _ => {}
        }
    }

    /// Returns the address of a memory operand, and updates its base register if the operand has
    /// write-back.
    pub(super) fn address(&mut self, at: u64, operand: &Operand) -> Value {
        match *operand {
            Operand::RegPreIndex(base, offset, write_back) => {
                let address = self.get(SizeCode::X, base).plus(i64::from(offset));
                if write_back {
                    self.set(SizeCode::X, base, address);
                }
                address
            }
            Operand::RegPostIndex(base, offset) => {
                let address = self.get(SizeCode::X, base);
                self.set(SizeCode::X, base, address.plus(i64::from(offset)));
                address
            }
            Operand::RegPostIndexReg(base, _) => {
                let address = self.get(SizeCode::X, base);
                self.set(SizeCode::X, base, Value::Unknown);
                address
            }
            Operand::RegRegOffset(base, index, size, style, amount) => {
                let index = self.read(&Operand::RegShift(style, amount, size, index));
                let base = self.get(SizeCode::X, base);
                match (base, index.concrete()) {
                    (Value::Number(number), _) if !matches!(index, Value::Number(_)) => {
                        index.plus(number.cast_signed())
                    }
                    (base, Some(index)) => base.plus(index.cast_signed()),
                    (_, None) => Value::Unknown,
                }
            }
            Operand::PCOffset(offset) => Value::Number(at.wrapping_add_signed(offset)),
            _ => Value::Unknown,
        }
    }
}

/// Truncates a value to `size` bytes; a part of a pointer is unknown.
pub(super) fn narrow(value: Value, size: usize) -> Value {
    match value {
        whole if size == 8 => whole,
        Value::Number(number) => Value::Number(truncate(number, size)),
        Value::Field(place) => Value::Field(place),
        _ => Value::Unknown,
    }
}

/// Shifts or extends a register operand. A field that is extended stays that field.
fn shift(value: Value, style: ShiftStyle, amount: u32, size: usize) -> Value {
    use ShiftStyle::*;
    if amount == 0 && matches!(style, LSL | LSR | ASR | UXTX | SXTX) {
        return value;
    }
    let number = match value {
        Value::Field(_) if amount == 0 => return value,
        Value::Number(number) => number,
        Value::Field(_) => 0,
        _ => return Value::Unknown,
    };
    let result = match style {
        LSR => truncate(number, size).checked_shr(amount),
        ASR => {
            let wide = sign_extend(number, size as u32 * 8).cast_signed();
            wide.checked_shr(amount).map(i64::cast_unsigned)
        }
        ROR => None,
        LSL | UXTX | SXTX => number.checked_shl(amount),
        UXTB => truncate(number, 1).checked_shl(amount),
        UXTH => truncate(number, 2).checked_shl(amount),
        UXTW => truncate(number, 4).checked_shl(amount),
        SXTB => sign_extend(number, 8).checked_shl(amount),
        SXTH => sign_extend(number, 16).checked_shl(amount),
        SXTW => sign_extend(number, 32).checked_shl(amount),
    };
    // An extension is as wide as the other operand, a shift has the size of its own operand.
    let size = match style {
        LSL | LSR | ASR | ROR => size,
        _ => 8,
    };
    result.map_or(Value::Unknown, |number| {
        Value::Number(truncate(number, size))
    })
}
