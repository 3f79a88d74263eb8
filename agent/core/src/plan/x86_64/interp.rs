//! The abstract machine: runs a short x86-64 function on imagined objects and notes which places it touches.
//!
//! Called through `x86_64`. Pointers read from an object lead to further objects, smaller numbers read from it are zero,
//! calls are skipped, and branches are decided by these values; so an OpenSSL accessor takes the path of a plain
//! connection (`SSL_TYPE_SSL_CONNECTION` is 0, ssl/ssl_local.h) and its result names the field it read. It never runs
//! more than [`MAX_STEPS`] instructions, and ends where it would have to guess.

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

use super::alu::{self, Flags};
use super::machine::Machine;
use crate::plan::elf::Image;
use crate::plan::isa::Call;
use crate::plan::trace::{Trace, Value};

/// Instructions run in one call, at most.
const MAX_STEPS: usize = 4096;
/// Longest x86 instruction, bytes.
pub(super) const MAX_INSTRUCTION: usize = 15;
/// Decodes the instruction at an address.
pub(super) fn decode(image: &Image<'_>, at: u64) -> Option<Instruction> {
    let bytes = image
        .bytes_at(at, MAX_INSTRUCTION)
        .filter(|_| image.is_code(at))?;
    let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Runs the function at `function`.
pub(super) fn run(image: &Image<'_>, function: u64, call: Call) -> Trace {
    let mut machine = Machine::new(image, call);
    let mut at = function;
    for _ in 0..MAX_STEPS {
        if call.until == Some(at) {
            machine.memory.trace.returned = Some(machine.get(Register::ESI));
            break;
        }
        let Some(instruction) = decode(image, at) else {
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
                Some(if taken {
                    instruction.near_branch_target()
                } else {
                    next
                })
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
                if let Some(number) = self.memory.calls_return() {
                    self.set(Register::RAX, Value::Number(number));
                }
                self.flags = None;
                Some(next)
            }
            FlowControl::Return => {
                self.memory.trace.returned = Some(self.get(Register::RAX));
                None
            }
            _ => None,
        }
    }

    fn note_call(&mut self) {
        let arguments = [self.get(Register::RDI), self.get(Register::RSI)];
        self.memory.trace.call(arguments);
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
                self.memory.store(top, 8, value);
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
                let (a, b) = (
                    self.read(instruction, 0).concrete(),
                    self.read(instruction, 1).concrete(),
                );
                self.flags = a.zip(b).map(|(a, b)| Flags::bit_test(a, b, size));
            }
            // `memcpy` in place, as compilers write it for a checked one (musl's fortify headers).
            Mnemonic::Movsb | Mnemonic::Movsq
                if instruction.has_rep_prefix() && instruction.is_string_instruction() =>
            {
                self.note_call();
                self.approximate(instruction);
            }
            _ if instruction.condition_code() != ConditionCode::None => {
                self.conditional(instruction);
            }
            _ => self.approximate(instruction),
        }
    }

    fn pop(&mut self, register: Register) {
        let top = self.get(Register::RSP);
        let value = self.memory.load(top, 8);
        self.set(Register::RSP, top.plus(8));
        self.set(register, value);
    }

    /// Result of an operation, its flags being kept. A pointer plus or minus a number stays a pointer.
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

    /// `setcc` and `cmovcc`.
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

    /// Any other instruction: what it reads is noted, what it writes becomes unknown.
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

/// Operands are in general registers and memory only.
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
mod tests {
    use super::*;
    use crate::plan::tests::{CODE, elf_of, image_of};
    use crate::plan::trace::Place;

    fn run_code(code: &[u8], call: Call) -> Trace {
        let bytes = elf_of(code);
        let image = image_of(&bytes);
        run(&image, CODE, call)
    }

    fn returned_offset(code: &[u8]) -> Option<i64> {
        let trace = run_code(code, Call::default());
        let place = trace.source(trace.returned?)?;
        (place.object == 0).then_some(place.offset)
    }

    #[test]
    fn accessor_with_one_load_names_its_field() {
        // SSL_session_reused, 3.0: mov eax, [rdi+0x4d0]; xor edi, edi; ret
        assert_eq!(
            returned_offset(&[0x8b, 0x87, 0xd0, 0x04, 0, 0, 0x31, 0xff, 0xc3]),
            Some(0x4d0)
        );
        // The same behind "repz ret".
        assert_eq!(
            returned_offset(&[0x8b, 0x87, 0xc8, 0, 0, 0, 0xf3, 0xc3]),
            Some(0xc8)
        );
    }

    #[test]
    fn type_check_leads_to_the_plain_connection() {
        // SSL_session_reused, 3.2: type 0 is a connection, 1 a QUIC connection with a connection at 0x40.
        let code = [
            0x48, 0x85, 0xff, 0x74, 0x1d, // test rdi, rdi; je
            0x8b, 0x17, 0x85, 0xd2, 0x74, 0x10, // mov edx, [rdi]; test edx, edx; je
            0x31, 0xc0, 0x83, 0xfa, 0x01, 0x75, 0x12, // xor eax, eax; cmp edx, 1; jne
            0x48, 0x8b, 0x7f, 0x40, // mov rdi, [rdi+0x40]
            0x48, 0x85, 0xff, 0x74, 0x09, // test rdi, rdi; je
            0x8b, 0x87, 0x88, 0x04, 0, 0, 0xc3, // mov eax, [rdi+0x488]; ret
            0x31, 0xc0, 0xc3, // xor eax, eax; ret
        ];
        assert_eq!(returned_offset(&code), Some(0x488));
    }

    #[test]
    fn control_flow_enforcement_and_hidden_calls_are_no_obstacle() {
        // SSL_session_reused, 3.5 with CET.
        let code = [
            0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x85, 0xff, 0x74,
            0x35, // endbr64; test rdi, rdi; je
            0x8b, 0x07, 0x85, 0xc0, 0x74, 0x1f, // mov eax, [rdi]; test eax, eax; je
            0xa8, 0x80, 0x74, 0x2b, // test al, 0x80; je
            0x48, 0x83, 0xec, 0x08, 0xe8, 0xe4, 0xff, 0xff, 0xff, // sub rsp, 8; call
            0x48, 0x85, 0xc0, 0x74, 0x16, // test rax, rax; je
            0x8b, 0x80, 0x08, 0x05, 0, 0, 0x48, 0x83, 0xc4, 0x08, 0x31, 0xff,
            0xc3, // mov eax, [rax+0x508] ...
            0x8b, 0x87, 0x08, 0x05, 0, 0, 0x31, 0xff,
            0xc3, // mov eax, [rdi+0x508]; xor edi, edi; ret
            0x31, 0xc0, 0x48, 0x83, 0xc4, 0x08, 0xc3, 0x31, 0xc0, 0xc3,
        ];
        assert_eq!(returned_offset(&code), Some(0x508));
    }

    #[test]
    fn store_of_a_method_slot_keeps_its_provenance() {
        // The shape of SSL_set_accept_state.
        let code = [
            0x53, 0x48, 0x89, 0xfb, // push rbx; mov rbx, rdi
            0xc7, 0x47, 0x38, 1, 0, 0, 0, // mov dword [rdi+0x38], 1
            0x48, 0x8d, 0x7f, 0x48, 0xe8, 0x86, 0xff, 0xff, 0xff, // lea rdi, [rdi+0x48]; call
            0x48, 0x8b, 0x43, 0x08, 0x48, 0x8b, 0x40,
            0x28, // mov rax, [rbx+8]; mov rax, [rax+0x28]
            0x48, 0x89, 0x43, 0x30, 0x5b, 0xc3, // mov [rbx+0x30], rax; pop rbx; ret
        ];
        let trace = run_code(&code, Call::default());
        let store = trace.writes.last().expect("a write");
        assert_eq!(
            (store.place, store.size),
            (
                Place {
                    object: 0,
                    offset: 0x30
                },
                8
            )
        );
        let slot = trace.source(store.value).expect("read from an object");
        assert_eq!(
            (trace.origin(slot.object), slot.offset),
            (
                Some(Place {
                    object: 0,
                    offset: 8
                }),
                0x28
            )
        );
        assert!(matches!(
            trace.calls[0][0],
            Value::Pointer(Place {
                object: 0,
                offset: 0x48
            })
        ));
    }

    #[test]
    fn copy_in_place_is_a_copy() {
        // The end of SSL_get_client_random as musl's fortify headers make it.
        let code = [
            0x48, 0x8d, 0xb7, 0x88, 0x01, 0, 0, // lea rsi, [rdi+0x188]
            0xb9, 0x20, 0, 0, 0, // mov ecx, 32
            0xf3, 0xa4, 0xc3, // rep movsb; ret
        ];
        let place = Place {
            object: 0,
            offset: 0x188,
        };
        let trace = run_code(&code, Call::default());
        assert_eq!(trace.calls[0][1], Value::Pointer(place));
    }

    #[test]
    fn endless_loop_ends() {
        assert_eq!(run_code(&[0xeb, 0xfe], Call::default()).returned, None);
        assert_eq!(
            run_code(&[0x50, 0xeb, 0xfd], Call::default()).returned,
            None
        );
    }
}
