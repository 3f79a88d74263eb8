//! The abstract machine: runs a short x86-64 function on imagined objects and notes which places it touches.
//!
//! Called through `x86_64`. Pointers read from an object lead to further objects, smaller numbers read from it are zero,
//! calls are skipped, and branches are decided by these values; so an OpenSSL accessor takes the path of a plain
//! connection (`SSL_TYPE_SSL_CONNECTION` is 0, ssl/ssl_local.h) and its result names the field it read. It never runs
//! more than [`MAX_STEPS`] instructions, and ends where it would have to guess.

use std::collections::HashMap;

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::alu::{self, Flags};
use super::elf::Image;
use super::isa::Call;
use super::trace::{Access, Place, Trace, Value};

/// Instructions run in one call, at most.
const MAX_STEPS: usize = 4096;
/// Longest x86 instruction, bytes.
pub(super) const MAX_INSTRUCTION: usize = 15;
/// A pointer that leads to nothing the function may read, for arguments that must not be null.
const SOMEWHERE: u64 = 0x7200_0000_0000;

/// Decodes the instruction at an address.
pub(super) fn decode(image: &Image<'_>, at: u64) -> Option<Instruction> {
    let bytes = image.bytes_at(at, MAX_INSTRUCTION).filter(|_| image.is_code(at))?;
    let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Runs the function at `function`.
pub(super) fn run(image: &Image<'_>, function: u64, call: Call) -> Trace {
    let mut machine = Machine {
        image,
        call,
        registers: [Value::Unknown; 16],
        flags: None,
        stack: HashMap::new(),
        trace: Trace::default(),
    };
    let root = Value::Pointer(Place { object: 0, offset: 0 });
    machine.set(Register::RDI, call.number.map_or(root, Value::Number));
    machine.set(Register::RSI, Value::Number(SOMEWHERE));
    machine.set(Register::RDX, Value::Number(call.size));
    machine.set(Register::RSP, Value::Stack(0));
    let mut at = function;
    for _ in 0..MAX_STEPS {
        let Some(instruction) = decode(image, at) else { break };
        match machine.step(&instruction) {
            Some(next) => at = next,
            None => break,
        }
    }
    machine.trace
}

struct Machine<'m, 'a> {
    image: &'m Image<'a>,
    call: Call,
    registers: [Value; 16],
    flags: Option<Flags>,
    stack: HashMap<i64, Value>,
    trace: Trace,
}

impl Machine<'_, '_> {
    /// Runs one instruction and says where the next one is; `None` ends the run.
    fn step(&mut self, instruction: &Instruction) -> Option<u64> {
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next => {
                self.compute(instruction);
                Some(next)
            }
            FlowControl::UnconditionalBranch => Some(instruction.near_branch_target()),
            FlowControl::ConditionalBranch if instruction.is_jcc_short_or_near() => {
                let taken = self.flags?.satisfy(instruction.condition_code());
                Some(if taken { instruction.near_branch_target() } else { next })
            }
            FlowControl::IndirectBranch => {
                let Value::Number(target) = self.read(instruction, 0) else {
                    // A tail call out of the image.
                    self.note_call();
                    return None;
                };
                Some(target)
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                self.note_call();
                // What a call may change, System V ABI x86-64, section 3.2.1.
                for register in [
                    Register::RAX,
                    Register::RCX,
                    Register::RDX,
                    Register::RSI,
                    Register::RDI,
                    Register::R8,
                    Register::R9,
                    Register::R10,
                    Register::R11,
                ] {
                    self.set(register, Value::Unknown);
                }
                self.flags = None;
                Some(next)
            }
            FlowControl::Return => {
                self.trace.returned = Some(self.get(Register::RAX));
                None
            }
            _ => None,
        }
    }

    fn note_call(&mut self) {
        let arguments = [self.get(Register::RDI), self.get(Register::RSI)];
        self.trace.call(arguments);
    }

    /// Runs one instruction that does not branch.
    fn compute(&mut self, instruction: &Instruction) {
        let size = operand_size(instruction);
        match instruction.mnemonic() {
            Mnemonic::Nop | Mnemonic::Endbr64 => {}
            Mnemonic::Mov if is_general(instruction) => {
                let value = self.read(instruction, 1);
                self.write(instruction, 0, value);
            }
            Mnemonic::Lea => {
                let address = self.address(instruction);
                self.write(instruction, 0, address);
            }
            Mnemonic::Movzx => {
                let value = self.read(instruction, 1);
                self.write(instruction, 0, value);
            }
            Mnemonic::Movsx | Mnemonic::Movsxd | Mnemonic::Cdqe => {
                let (value, from) = match instruction.mnemonic() {
                    Mnemonic::Cdqe => (self.get(Register::EAX), 4),
                    _ => (self.read(instruction, 1), source_size(instruction)),
                };
                let value = match value {
                    Value::Number(number) => Value::Number(alu::sign_extend(number, from)),
                    other => other,
                };
                match instruction.mnemonic() {
                    Mnemonic::Cdqe => self.set(Register::RAX, value),
                    _ => self.write(instruction, 0, value),
                }
            }
            Mnemonic::Push => {
                let value = self.read(instruction, 0);
                let top = self.get(Register::RSP).plus(-8);
                self.set(Register::RSP, top);
                self.store(top, 8, value);
            }
            Mnemonic::Pop => self.pop(instruction.op0_register()),
            Mnemonic::Leave => {
                let frame = self.get(Register::RBP);
                self.set(Register::RSP, frame);
                self.pop(Register::RBP);
            }
            Mnemonic::Cmp | Mnemonic::Test => {
                let (a, b) = (self.read(instruction, 0), self.read(instruction, 1));
                self.operate(instruction.mnemonic(), a, b, size);
            }
            Mnemonic::Add
            | Mnemonic::Sub
            | Mnemonic::And
            | Mnemonic::Or
            | Mnemonic::Xor
            | Mnemonic::Shl
            | Mnemonic::Sal
            | Mnemonic::Shr
            | Mnemonic::Sar => {
                let same = instruction.op0_kind() == OpKind::Register
                    && instruction.op1_kind() == OpKind::Register
                    && instruction.op0_register() == instruction.op1_register()
                    && matches!(instruction.mnemonic(), Mnemonic::Sub | Mnemonic::Xor);
                let (a, b) = match same {
                    true => (Value::Number(0), Value::Number(0)),
                    false => (self.read(instruction, 0), self.read(instruction, 1)),
                };
                let result = self.operate(instruction.mnemonic(), a, b, size);
                self.write(instruction, 0, result);
            }
            Mnemonic::Inc | Mnemonic::Dec => {
                let a = self.read(instruction, 0);
                let result = self.operate(instruction.mnemonic(), a, Value::Number(1), size);
                self.write(instruction, 0, result);
            }
            Mnemonic::Neg => {
                let b = self.read(instruction, 0);
                let result = self.operate(Mnemonic::Neg, Value::Number(0), b, size);
                self.write(instruction, 0, result);
            }
            Mnemonic::Bt => {
                let (a, b) = (self.read(instruction, 0).concrete(), self.read(instruction, 1).concrete());
                self.flags = a.zip(b).map(|(a, b)| Flags::bit_test(a, b, size));
            }
            _ if instruction.condition_code() != ConditionCode::None => self.conditional(instruction),
            _ => self.approximate(instruction),
        }
    }

    fn pop(&mut self, register: Register) {
        let top = self.get(Register::RSP);
        let value = self.load(top, 8);
        self.set(Register::RSP, top.plus(8));
        self.set(register, value);
    }

    /// Result of an operation, its flags being kept. A pointer plus or minus a number stays a pointer.
    fn operate(&mut self, operation: Mnemonic, a: Value, b: Value, size: usize) -> Value {
        let evaluated = a.concrete().zip(b.concrete()).and_then(|(x, y)| alu::evaluate(operation, x, y, size));
        self.flags = evaluated.map(|(_, flags)| flags);
        match (operation, a, b) {
            (Mnemonic::Add, Value::Pointer(_) | Value::Stack(_), b) if size == 8 => {
                b.concrete().map_or(Value::Unknown, |number| a.plus(number.cast_signed()))
            }
            (Mnemonic::Add, Value::Number(number), Value::Pointer(_)) if size == 8 => b.plus(number.cast_signed()),
            (Mnemonic::Sub, Value::Pointer(_) | Value::Stack(_), Value::Number(number)) if size == 8 => {
                a.plus(number.cast_signed().wrapping_neg())
            }
            // Alignment of the stack pointer.
            (Mnemonic::And, Value::Stack(_), _) => a,
            (_, Value::Pointer(_) | Value::Stack(_), _) | (_, _, Value::Pointer(_) | Value::Stack(_)) => Value::Unknown,
            _ => evaluated.map_or(Value::Unknown, |(result, _)| Value::Number(result)),
        }
    }

    /// `setcc` and `cmovcc`.
    fn conditional(&mut self, instruction: &Instruction) {
        let holds = self.flags.map(|flags| flags.satisfy(instruction.condition_code()));
        let value = match (holds, instruction.op_count() == 1) {
            (Some(holds), true) => Value::Number(u64::from(holds)),
            (Some(true), false) => self.read(instruction, 1),
            (Some(false), false) => self.read(instruction, 0),
            (None, _) => Value::Unknown,
        };
        self.write(instruction, 0, value);
    }

    /// Any other instruction: what it reads is noted, what it writes becomes unknown.
    fn approximate(&mut self, instruction: &Instruction) {
        let mut factory = InstructionInfoFactory::new();
        let used = factory.info(instruction);
        let size = instruction.memory_size().size();
        for memory in used.used_memory() {
            let address = self.sum(memory.base(), memory.index(), memory.scale() as u64, memory.displacement());
            if memory.segment() == Register::FS || memory.segment() == Register::GS {
                continue;
            }
            if matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite) {
                self.load(address, size);
            }
            if matches!(memory.access(), OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite) {
                self.store(address, size, Value::Unknown);
            }
        }
        for register in used.used_registers() {
            let writes = !matches!(register.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
            if writes && register.register().is_gpr() {
                self.set(register.register().full_register(), Value::Unknown);
            }
        }
        if instruction.rflags_modified() != 0 {
            self.flags = None;
        }
    }

    fn get(&self, register: Register) -> Value {
        let whole = self.registers.get(register.full_register().number()).copied().unwrap_or(Value::Unknown);
        match (register.size(), whole) {
            (8, whole) => whole,
            (_, Value::Number(number)) if is_high_byte(register) => Value::Number(alu::cut(number >> 8, 1)),
            (size, Value::Number(number)) => Value::Number(alu::cut(number, size)),
            (_, Value::Field(place)) => Value::Field(place),
            _ => Value::Unknown,
        }
    }

    fn set(&mut self, register: Register, value: Value) {
        let size = register.size();
        let Some(slot) = self.registers.get_mut(register.full_register().number()) else { return };
        *slot = match (size, value) {
            (8, value) => value,
            _ if is_high_byte(register) => Value::Unknown,
            // A 32-bit write clears the upper half.
            (4, Value::Number(number)) => Value::Number(alu::cut(number, 4)),
            // A smaller one keeps the rest; an unknown rest is not read by sane code and counts as zero.
            (_, Value::Number(number)) => match *slot {
                Value::Number(old) => Value::Number(old - alu::cut(old, size) + alu::cut(number, size)),
                _ => Value::Number(alu::cut(number, size)),
            },
            (_, Value::Field(place)) => Value::Field(place),
            _ => Value::Unknown,
        };
    }

    /// Value of an operand.
    fn read(&mut self, instruction: &Instruction, operand: u32) -> Value {
        match instruction.op_kind(operand) {
            OpKind::Register if instruction.op_register(operand).is_gpr() => {
                self.get(instruction.op_register(operand))
            }
            OpKind::Memory => {
                let address = self.address(instruction);
                self.load(address, instruction.memory_size().size())
            }
            _ => instruction.try_immediate(operand).map_or(Value::Unknown, Value::Number),
        }
    }

    fn write(&mut self, instruction: &Instruction, operand: u32, value: Value) {
        match instruction.op_kind(operand) {
            OpKind::Register if instruction.op_register(operand).is_gpr() => {
                self.set(instruction.op_register(operand), value);
            }
            OpKind::Memory => {
                let address = self.address(instruction);
                self.store(address, instruction.memory_size().size(), value);
            }
            _ => {}
        }
    }

    /// Address of the memory operand.
    fn address(&self, instruction: &Instruction) -> Value {
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

    fn sum(&self, base: Register, index: Register, scale: u64, displacement: u64) -> Value {
        let value = |register: Register| match register {
            Register::None => Value::Number(0),
            Register::RIP => Value::Number(0),
            register => self.get(register),
        };
        let (mut base, mut index) = (value(base), value(index));
        if scale == 1 && matches!(index, Value::Pointer(_) | Value::Stack(_)) {
            std::mem::swap(&mut base, &mut index);
        }
        let Some(index) = index.concrete() else { return Value::Unknown };
        base.plus(index.wrapping_mul(scale).wrapping_add(displacement).cast_signed())
    }

    fn load(&mut self, address: Value, size: usize) -> Value {
        match address {
            Value::Pointer(place) => {
                let value = match size {
                    8 if !self.call.null_pointers => self
                        .trace
                        .object_at(place)
                        .map_or(Value::Unknown, |object| Value::Pointer(Place { object, offset: 0 })),
                    0..=8 => Value::Field(place),
                    _ => Value::Unknown,
                };
                self.trace.read(Access { place, size, value });
                value
            }
            Value::Number(address) => self.image.constant(address, size).map_or(Value::Unknown, Value::Number),
            Value::Stack(offset) => self.stack.get(&offset).copied().unwrap_or(Value::Unknown),
            Value::Field(_) | Value::Unknown => Value::Unknown,
        }
    }

    fn store(&mut self, address: Value, size: usize, value: Value) {
        match address {
            Value::Pointer(place) => self.trace.write(Access { place, size, value }),
            Value::Stack(offset) => {
                self.stack.insert(offset, value);
            }
            Value::Number(_) | Value::Field(_) | Value::Unknown => {}
        }
    }
}

/// Operands are in general registers and memory only.
fn is_general(instruction: &Instruction) -> bool {
    instruction
        .op_kinds()
        .enumerate()
        .all(|(operand, kind)| kind != OpKind::Register || instruction.op_register(operand as u32).is_gpr())
}

fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::BH | Register::CH | Register::DH)
}

/// Size of operand 0, bytes.
fn operand_size(instruction: &Instruction) -> usize {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    }
}

/// Size of operand 1, bytes.
fn source_size(instruction: &Instruction) -> usize {
    match instruction.op1_kind() {
        OpKind::Register => instruction.op1_register().size(),
        _ => instruction.memory_size().size(),
    }
}
