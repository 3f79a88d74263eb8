//! The abstract machine: runs a short x86-64 function on symbolic objects and records the places
//! that it accesses.
//!
//! Pointers read from an object lead to further objects, smaller numbers read from it are zero,
//! calls are skipped, and branches are decided by these values. So an OpenSSL accessor takes the
//! path of a plain connection (`SSL_TYPE_SSL_CONNECTION` is 0, ssl/ssl_local.h) and its result
//! shows the field that it read. A run ends after [`MAX_STEPS`] instructions, and where it would
//! have to guess.

use iced_x86::{
    ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::alu::{self, Flags};
use super::decode::decode;
use super::registers::Machine;
use crate::plan::elf::Image;
use crate::plan::isa::Call;
use crate::plan::trace::{Trace, Value};

/// Limit of instructions in one run.
const MAX_STEPS: usize = 4096;
/// Work of one instruction, units.
const STEP: u64 = 150;
/// Registers that a call may change (System V ABI x86-64, section 3.2.1).
const CALL_CLOBBERED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// Runs the function at `function`.
pub(super) fn run(image: &Image<'_>, function: u64, call: Call) -> Trace {
    let mut machine = Machine::new(image, call);
    let mut at = function;
    for _ in 0..MAX_STEPS {
        if call.stop_at == Some(at) {
            machine.memory.trace.returned = Some(machine.get(Register::ESI));
            break;
        }
        let Some(instruction) = decode(image, at).filter(|_| image.charge(STEP)) else {
            break;
        };
        match machine.step(&instruction) {
            Some(next) => at = next,
            None => break,
        }
    }
    machine.memory.trace
}

impl Machine<'_, '_> {
    /// Runs one instruction and returns the address of the next one; `None` ends the run.
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
                Some(if taken {
                    instruction.near_branch_target()
                } else {
                    next
                })
            }
            FlowControl::IndirectBranch => {
                let Value::Number(target) = self.read(instruction, 0) else {
                    // A tail call out of the image.
                    self.record_call();
                    return None;
                };
                Some(target)
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                self.record_call();
                self.skip_call();
                Some(next)
            }
            FlowControl::Return => {
                self.memory.trace.returned = Some(self.get(Register::RAX));
                None
            }
            _ => None,
        }
    }

    fn record_call(&mut self) {
        let arguments = [self.get(Register::RDI), self.get(Register::RSI)];
        self.memory.trace.call(arguments);
    }

    /// Applies the effects of a call that is not followed.
    fn skip_call(&mut self) {
        for register in CALL_CLOBBERED {
            self.set(register, Value::Unknown);
        }
        if let Some(number) = self.memory.call_result() {
            self.set(Register::RAX, Value::Number(number));
        }
        self.flags = None;
    }

    /// Runs one instruction that does not branch.
    fn compute(&mut self, instruction: &Instruction) {
        match instruction.mnemonic() {
            Mnemonic::Nop | Mnemonic::Endbr64 => {}
            Mnemonic::Mov if is_general(instruction) => {
                let value = self.read(instruction, 1);
                self.write(instruction, 0, value);
            }
            Mnemonic::Movzx => {
                let value = self.read(instruction, 1);
                self.write(instruction, 0, value);
            }
            Mnemonic::Lea => {
                let address = self.address(instruction);
                self.write(instruction, 0, address);
            }
            Mnemonic::Movsx | Mnemonic::Movsxd => {
                let value = self.read(instruction, 1);
                let extended = sign_extended(value, source_size(instruction));
                self.write(instruction, 0, extended);
            }
            Mnemonic::Cdqe => {
                let extended = sign_extended(self.get(Register::EAX), 4);
                self.set(Register::RAX, extended);
            }
            Mnemonic::Push => {
                let value = self.read(instruction, 0);
                let top = self.get(Register::RSP).plus(-8);
                self.set(Register::RSP, top);
                self.memory.store(top, 8, value);
            }
            Mnemonic::Pop => self.pop(instruction.op0_register()),
            Mnemonic::Leave => {
                let frame = self.get(Register::RBP);
                self.set(Register::RSP, frame);
                self.pop(Register::RBP);
            }
            // `memcpy` in place, as compilers write it for a checked one (musl's fortify headers).
            Mnemonic::Movsb | Mnemonic::Movsq
                if instruction.has_rep_prefix() && instruction.is_string_instruction() =>
            {
                self.record_call();
                self.approximate(instruction);
            }
            _ if self.calculate(instruction) => {}
            _ if instruction.condition_code() != ConditionCode::None => {
                self.conditional(instruction);
            }
            _ => self.approximate(instruction),
        }
    }

    /// Runs one instruction of integer arithmetic; `false` for any other instruction.
    fn calculate(&mut self, instruction: &Instruction) -> bool {
        let size = operand_size(instruction);
        let operation = instruction.mnemonic();
        let result = match operation {
            Mnemonic::Cmp | Mnemonic::Test => {
                let (a, b) = (self.read(instruction, 0), self.read(instruction, 1));
                self.operate(operation, a, b, size);
                return true;
            }
            Mnemonic::Bt => {
                let (a, b) = (
                    self.read(instruction, 0).concrete(),
                    self.read(instruction, 1).concrete(),
                );
                self.flags = a.zip(b).map(|(a, b)| Flags::from_bit_test(a, b, size));
                return true;
            }
            Mnemonic::Sub | Mnemonic::Xor if is_zeroing(instruction) => {
                self.operate(operation, Value::Number(0), Value::Number(0), size)
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
                let (a, b) = (self.read(instruction, 0), self.read(instruction, 1));
                self.operate(operation, a, b, size)
            }
            Mnemonic::Inc | Mnemonic::Dec => {
                let a = self.read(instruction, 0);
                self.operate(operation, a, Value::Number(1), size)
            }
            Mnemonic::Neg => {
                let b = self.read(instruction, 0);
                self.operate(operation, Value::Number(0), b, size)
            }
            _ => return false,
        };
        self.write(instruction, 0, result);
        true
    }

    fn pop(&mut self, register: Register) {
        let top = self.get(Register::RSP);
        let value = self.memory.load(top, 8);
        self.set(Register::RSP, top.plus(8));
        self.set(register, value);
    }

    /// Returns the result of an operation and stores its flags. A pointer plus or minus a number
    /// stays a pointer.
    fn operate(&mut self, operation: Mnemonic, a: Value, b: Value, size: usize) -> Value {
        let evaluated = a
            .concrete()
            .zip(b.concrete())
            .and_then(|(x, y)| alu::evaluate(operation, x, y, size));
        self.flags = evaluated.map(|(_, flags)| flags);
        match (operation, a, b) {
            (Mnemonic::Add, Value::Pointer(_) | Value::Stack(_), b) if size == 8 => b
                .concrete()
                .map_or(Value::Unknown, |number| a.plus(number.cast_signed())),
            (Mnemonic::Add, Value::Number(number), Value::Pointer(_)) if size == 8 => {
                b.plus(number.cast_signed())
            }
            (Mnemonic::Sub, Value::Pointer(_) | Value::Stack(_), Value::Number(number))
                if size == 8 =>
            {
                a.plus(number.cast_signed().wrapping_neg())
            }
            // Alignment of the stack pointer.
            (Mnemonic::And, Value::Stack(_), _) => a,
            (_, Value::Pointer(_) | Value::Stack(_), _)
            | (_, _, Value::Pointer(_) | Value::Stack(_)) => Value::Unknown,
            _ => evaluated.map_or(Value::Unknown, |(result, _)| Value::Number(result)),
        }
    }

    /// Runs `setcc` and `cmovcc`.
    fn conditional(&mut self, instruction: &Instruction) {
        let holds = self
            .flags
            .map(|flags| flags.satisfy(instruction.condition_code()));
        let value = match (holds, instruction.op_count() == 1) {
            (Some(holds), true) => Value::Number(u64::from(holds)),
            (Some(true), false) => self.read(instruction, 1),
            (Some(false), false) => self.read(instruction, 0),
            (None, _) => Value::Unknown,
        };
        self.write(instruction, 0, value);
    }

    /// Runs any other instruction: records what it reads, and sets what it writes to unknown.
    fn approximate(&mut self, instruction: &Instruction) {
        let mut factory = InstructionInfoFactory::new();
        let used = factory.info(instruction);
        let size = instruction.memory_size().size();
        for memory in used.used_memory() {
            let address = self.sum(
                memory.base(),
                memory.index(),
                u64::from(memory.scale()),
                memory.displacement(),
            );
            if memory.segment() == Register::FS || memory.segment() == Register::GS {
                continue;
            }
            if matches!(
                memory.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite
            ) {
                self.memory.load(address, size);
            }
            if matches!(
                memory.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite
            ) {
                self.memory.store(address, size, Value::Unknown);
            }
        }
        for register in used.used_registers() {
            let writes = !matches!(
                register.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None
            );
            if writes && register.register().is_gpr() {
                self.set(register.register().full_register(), Value::Unknown);
            }
        }
        if instruction.rflags_modified() != 0 {
            self.flags = None;
        }
    }
}

/// A value of `size` bytes, extended with its sign.
fn sign_extended(value: Value, size: usize) -> Value {
    match value {
        Value::Number(number) => Value::Number(alu::sign_extend(number, size)),
        other => other,
    }
}

/// Whether both operands are the same register.
fn is_zeroing(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

/// Whether all operands are in general registers and memory.
fn is_general(instruction: &Instruction) -> bool {
    instruction.op_kinds().enumerate().all(|(operand, kind)| {
        kind != OpKind::Register || instruction.op_register(operand as u32).is_gpr()
    })
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

#[cfg(test)]
mod tests;
