//! Functions that begin with the instructions that the kinds of probe are placed on.

use self::machine::{emulated, nop, returns, stepped};
use super::kind::ProbeKind;

/// The function whose first instruction a probe of this kind is placed on.
pub(super) const fn function(kind: ProbeKind) -> extern "C" fn(u64) -> u64 {
    match kind {
        ProbeKind::Emulated => emulated,
        ProbeKind::Stepped => stepped,
        ProbeKind::Nop => nop,
        ProbeKind::Return => returns,
    }
}

/// Address of [`function`] in this process.
pub(super) fn address(kind: ProbeKind) -> u64 {
    function(kind) as usize as u64
}

/// `push_setup_xol_ops` and `branch_setup_xol_ops` (arch/x86/kernel/uprobes.c) decide which
/// instructions are emulated; `can_optimize` (same file, 6.18) turns a five-byte `nop` into a call
/// of the uprobe system call.
#[cfg(target_arch = "x86_64")]
mod machine {
    use std::arch::naked_asm;

    #[unsafe(naked)]
    pub(super) extern "C" fn emulated(_: u64) -> u64 {
        naked_asm!("push rbp", "lea rax, [rdi + 3]", "pop rbp", "ret")
    }

    #[unsafe(naked)]
    pub(super) extern "C" fn stepped(_: u64) -> u64 {
        naked_asm!("lea rax, [rdi + 5]", "ret")
    }

    #[unsafe(naked)]
    pub(super) extern "C" fn nop(_: u64) -> u64 {
        naked_asm!(
            ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
            "lea rax, [rdi + 7]",
            "ret"
        )
    }

    #[unsafe(naked)]
    pub(super) extern "C" fn returns(_: u64) -> u64 {
        naked_asm!("push rbp", "lea rax, [rdi + 9]", "pop rbp", "ret")
    }
}

/// `arm_probe_decode_insn` (arch/arm64/kernel/probes/decode-insn.c) decides which instructions are
/// emulated.
#[cfg(target_arch = "aarch64")]
mod machine {
    use std::arch::naked_asm;

    #[unsafe(naked)]
    pub(super) extern "C" fn emulated(_: u64) -> u64 {
        naked_asm!("b 2f", "2:", "add x0, x0, #3", "ret")
    }

    #[unsafe(naked)]
    pub(super) extern "C" fn stepped(_: u64) -> u64 {
        naked_asm!("add x0, x0, #5", "ret")
    }

    #[unsafe(naked)]
    pub(super) extern "C" fn nop(_: u64) -> u64 {
        naked_asm!("nop", "add x0, x0, #7", "ret")
    }

    #[unsafe(naked)]
    pub(super) extern "C" fn returns(_: u64) -> u64 {
        naked_asm!("add x0, x0, #9", "ret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_adds_its_constant() {
        for (kind, added) in [
            (ProbeKind::Emulated, 3),
            (ProbeKind::Stepped, 5),
            (ProbeKind::Nop, 7),
            (ProbeKind::Return, 9),
        ] {
            assert_eq!(function(kind)(1000), 1000 + added, "{kind:?}");
        }
    }
}
