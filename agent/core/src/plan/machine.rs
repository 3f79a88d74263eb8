//! The choice of an instruction set by an image's machine.

use object::elf;

use super::aarch64::Aarch64;
use super::error::PlanError;
use super::isa::Isa;
use super::x86_64::X86_64;

/// Returns the instruction set of `machine`.
pub(super) fn isa_for(machine: elf::Machine) -> Result<Box<dyn Isa>, PlanError> {
    match machine {
        elf::EM_X86_64 => Ok(Box::new(X86_64)),
        elf::EM_AARCH64 => Ok(Box::new(Aarch64)),
        other => Err(PlanError::Machine(other.0)),
    }
}
