//! Registers and operands of the abstract x86-64 machine, which lives for one run.

use iced_x86::{Instruction, OpKind, Register};

use super::alu::{self, Flags};
use crate::plan::elf::Image;
use crate::plan::isa::Call;
use crate::plan::memory::Memory;
use crate::plan::trace::Value;

/// State of the machine.
pub(super) struct Machine<'m, 'a> {
    registers: [Value; 16],
    /// The arithmetic flags, where known.
    pub(super) flags: Option<Flags>,
    /// Memory that the run sees.
    pub(super) memory: Memory<'m, 'a>,
}

impl<'m, 'a> Machine<'m, 'a> {
    /// Creates a machine before the first instruction of a function.
    pub(super) fn new(image: &'m Image<'a>, call: Call) -> Self {
        let mut machine = Self {
            registers: [Value::Unknown; 16],
            flags: None,
            memory: Memory::new(image, call),
        };
        // System V ABI x86-64, section 3.2.3.
        let [first, second, third] = machine.memory.arguments();
        machine.set(Register::RDI, first);
        machine.set(Register::RSI, second);
        machine.set(Register::RDX, third);
        machine.set(Register::RSP, Value::Stack(0));
        machine
    }

    /// Returns the value of a register.
    pub(super) fn get(&self, register: Register) -> Value {
        let whole = self
            .registers
            .get(register.full_register().number())
            .copied()
            .unwrap_or(Value::Unknown);
        match (register.size(), whole) {
            (8, whole) => whole,
            (_, Value::Number(number)) if is_high_byte(register) => {
                Value::Number(alu::truncate(number >> 8, 1))
            }
            (size, Value::Number(number)) => Value::Number(alu::truncate(number, size)),
            (_, Value::Field(place)) => Value::Field(place),
            (_, word) => self.memory.narrowed(word),
        }
    }

    /// Writes a value to a register.
    pub(super) fn set(&mut self, register: Register, value: Value) {
        let size = register.size();
        let Some(slot) = self.registers.get_mut(register.full_register().number()) else {
            return;
        };
        *slot = match (size, value) {
            (8, value) => value,
            _ if is_high_byte(register) => Value::Unknown,
            // A 32-bit write clears the upper half.
            (4, Value::Number(number)) => Value::Number(alu::truncate(number, 4)),
            // A smaller write leaves the rest unchanged. Compilers do not read an unknown rest, so
            // it counts as zero.
            (_, Value::Number(number)) => match *slot {
                Value::Number(old) => {
                    Value::Number(old - alu::truncate(old, size) + alu::truncate(number, size))
                }
                _ => Value::Number(alu::truncate(number, size)),
            },
            (_, Value::Field(place)) => Value::Field(place),
            _ => Value::Unknown,
        };
    }

    /// Returns the value of an operand.
    pub(super) fn read(&mut self, instruction: &Instruction, operand: u32) -> Value {
        match instruction.op_kind(operand) {
            OpKind::Register if instruction.op_register(operand).is_gpr() => {
                self.get(instruction.op_register(operand))
            }
            OpKind::Memory => {
                let address = self.address(instruction);
                self.memory.load(address, instruction.memory_size().size())
            }
            _ => instruction
                .try_immediate(operand)
                .map_or(Value::Unknown, Value::Number),
        }
    }

    /// Writes a value to an operand.
    pub(super) fn write(&mut self, instruction: &Instruction, operand: u32, value: Value) {
        match instruction.op_kind(operand) {
            OpKind::Register if instruction.op_register(operand).is_gpr() => {
                self.set(instruction.op_register(operand), value);
            }
            OpKind::Memory => {
                let address = self.address(instruction);
                self.memory
                    .store(address, instruction.memory_size().size(), value);
            }
            _ => {}
        }
    }

    /// Returns the address of the memory operand.
    pub(super) fn address(&self, instruction: &Instruction) -> Value {
        if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
            return Value::Unknown;
        }
        if instruction.is_ip_rel_memory_operand() {
            return Value::Number(instruction.ip_rel_memory_address());
        }
        self.sum(
            instruction.memory_base(),
            instruction.memory_index(),
            u64::from(instruction.memory_index_scale()),
            instruction.memory_displacement64(),
        )
    }

    /// Returns base plus scaled index plus displacement.
    pub(super) fn sum(
        &self,
        base: Register,
        index: Register,
        scale: u64,
        displacement: u64,
    ) -> Value {
        let value = |register: Register| match register {
            Register::None => Value::Number(0),
            Register::RIP => Value::Number(0),
            register => self.get(register),
        };
        let (mut base, mut index) = (value(base), value(index));
        if scale == 1 && matches!(index, Value::Pointer(_) | Value::Stack(_)) {
            std::mem::swap(&mut base, &mut index);
        }
        let Some(index) = index.concrete() else {
            return Value::Unknown;
        };
        base.plus(
            index
                .wrapping_mul(scale)
                .wrapping_add(displacement)
                .cast_signed(),
        )
    }
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    )
}
