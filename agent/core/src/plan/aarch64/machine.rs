//! Registers, operands and arithmetic of the abstract AArch64 machine.
//!
//! Owned by `interp`, which runs the instructions. It lives for one call. What it does not know has an unknown result, never
//! a wrong one.

use yaxpeax_arm::armv8::a64::{Operand, ShiftStyle, SizeCode};

use super::registers::STACK;
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

/// The machine's state.
#[derive(Clone)]
pub(super) struct Machine<'m, 'a> {
    /// x0 to x30, and the stack pointer.
    registers: [Value; 32],
    /// The condition flags, where known.
    pub(super) flags: Option<Flags>,
    /// What pointers lead to.
    pub(super) memory: Memory<'m, 'a>,
}

/// Bytes of a register.
pub(super) fn bytes(size: SizeCode) -> usize {
    match size {
        SizeCode::X => 8,
        SizeCode::W => 4,
    }
}

/// `number` cut to `size` bytes.
pub(super) fn cut(number: u64, size: usize) -> u64 {
    match size {
        0..8 => number & ((1 << (size * 8)) - 1),
        _ => number,
    }
}

/// The lowest `bits` of `number`, extended with their sign.
pub(super) fn sign_extend(number: u64, bits: u32) -> u64 {
    let shift = 64_u32.saturating_sub(bits);
    let up = number.checked_shl(shift).unwrap_or(0).cast_signed();
    up.checked_shr(shift).unwrap_or(0).cast_unsigned()
}

/// Sum and flags: `AddWithCarry` of the Arm Architecture Reference Manual, shared pseudocode.
pub(super) fn add_with_carry(a: u64, b: u64, carry: bool, size: usize) -> (u64, Flags) {
    let (a, b) = (cut(a, size), cut(b, size));
    let bits = size as u32 * 8;
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    let sum = cut(wide as u64, size);
    let negative = |number| sign_extend(number, bits).cast_signed() < 0;
    let flags = Flags {
        negative: negative(sum),
        zero: sum == 0,
        carry: wide >> bits != 0,
        overflow: negative(a) == negative(b) && negative(sum) != negative(a),
    };
    (sum, flags)
}

/// Flags of a logical operation.
pub(super) fn logical_flags(result: u64, size: usize) -> Flags {
    Flags {
        negative: sign_extend(result, size as u32 * 8).cast_signed() < 0,
        zero: cut(result, size) == 0,
        carry: false,
        overflow: false,
    }
}

impl Flags {
    /// Flags from their four bits, as `ccmp` has them.
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
    /// A machine about to run the first instruction of a function.
    pub(super) fn new(image: &'m Image<'a>, call: Call) -> Self {
        let mut machine = Self::blank(image, call);
        let arguments = machine.memory.arguments();
        // Procedure Call Standard for the Arm 64-bit Architecture, section 6.8.2.
        for (register, value) in machine.registers.iter_mut().zip(arguments) {
            *register = value;
        }
        machine
    }

    /// A machine that knows nothing but its stack.
    pub(super) fn blank(image: &'m Image<'a>, call: Call) -> Self {
        let mut machine = Self {
            registers: [Value::Unknown; 32],
            flags: None,
            memory: Memory::new(image, call),
        };
        machine.set(SizeCode::X, STACK, Value::Stack(0));
        machine
    }

    /// Value of a register, 31 being the stack pointer.
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

    /// Puts a value into a register, 31 being the stack pointer. A 32-bit write clears the upper half.
    pub(super) fn set(&mut self, size: SizeCode, register: u16, value: Value) {
        if let Some(slot) = self.registers.get_mut(usize::from(register)) {
            *slot = narrow(value, bytes(size));
        }
    }

    /// What a call may change (Procedure Call Standard, section 6.1.1).
    pub(super) fn call_clobbers(&mut self) {
        for register in (0..=18).chain([30]) {
            self.set(SizeCode::X, register, Value::Unknown);
        }
        self.flags = None;
    }

    /// Value of an operand that is a register or a number.
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
            ref other => super::immediate(other).map_or(Value::Unknown, Value::Number),
        }
    }

    /// Puts a value into an operand that is a general register.
    pub(super) fn write(&mut self, operand: &Operand, value: Value) {
        match *operand {
            Operand::Register(_, 31) => {}
            Operand::Register(size, number) | Operand::RegisterOrSP(size, number) => {
                self.set(size, number, value);
            }
            _ => {}
        }
    }

    /// Address of a memory operand; the base is moved where the operand says so.
    pub(super) fn address(&mut self, at: u64, operand: &Operand) -> Value {
        match *operand {
            Operand::RegPreIndex(base, offset, moves) => {
                let address = self.get(SizeCode::X, base).plus(i64::from(offset));
                if moves {
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

/// A value cut to `size` bytes; half a pointer is nothing that is known.
pub(super) fn narrow(value: Value, size: usize) -> Value {
    match value {
        whole if size == 8 => whole,
        Value::Number(number) => Value::Number(cut(number, size)),
        Value::Field(place) => Value::Field(place),
        _ => Value::Unknown,
    }
}

/// A register operand, shifted or extended. A field that is extended stays that field.
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
        LSR => cut(number, size).checked_shr(amount),
        ASR => {
            let wide = sign_extend(number, size as u32 * 8).cast_signed();
            wide.checked_shr(amount).map(i64::cast_unsigned)
        }
        ROR => None,
        LSL | UXTX | SXTX => number.checked_shl(amount),
        UXTB => cut(number, 1).checked_shl(amount),
        UXTH => cut(number, 2).checked_shl(amount),
        UXTW => cut(number, 4).checked_shl(amount),
        SXTB => sign_extend(number, 8).checked_shl(amount),
        SXTH => sign_extend(number, 16).checked_shl(amount),
        SXTW => sign_extend(number, 32).checked_shl(amount),
    };
    // An extension makes its result as wide as the other operand, a shift keeps the size.
    let size = match style {
        LSL | LSR | ASR | ROR => size,
        _ => 8,
    };
    result.map_or(Value::Unknown, |number| Value::Number(cut(number, size)))
}
