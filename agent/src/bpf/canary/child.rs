//! What the sacrificed process runs: a strict seccomp filter, then functions made of the very instructions that probes sit on.

use std::{collections::BTreeMap, io};

use clap::ValueEnum;
use nix::unistd;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde::Serialize;

use self::machine::{emulated, nop, returns, stepped};

/// Written once the functions were called without a probe.
pub(super) const READY: u8 = b'r';
/// Awaited before they are called again.
pub(super) const GO: u8 = b'\n';
/// Written when they gave the same as before.
pub(super) const RIGHT: u8 = b'y';
/// Written when they did not.
const WRONG: u8 = b'n';
/// Calls before, and calls after. More than one: the kernel makes a five-byte `nop` a system call at its first hit.
pub(super) const CALLS: u64 = 8;

/// A kind of probe, by what it sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Perch {
    /// An entry probe on an instruction that the kernel emulates.
    Emulated,
    /// An entry probe on an instruction that the kernel single-steps.
    Stepped,
    /// An entry probe on a five-byte `nop`: a system call since 6.18 on x86-64.
    Nop,
    /// A return probe: a system call since 6.11 on x86-64.
    Return,
}

impl Perch {
    /// The probes that Reprise places into others.
    pub const PLAIN: [Self; 3] = [Self::Emulated, Self::Stepped, Self::Nop];
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Emulated, Self::Stepped, Self::Nop, Self::Return];

    /// Its name on the canary's command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Stepped => "stepped",
            Self::Nop => "nop",
            Self::Return => "return",
        }
    }

    /// Where it sits, in words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Emulated => "on an emulated instruction",
            Self::Stepped => "on a single-stepped instruction",
            Self::Nop => "on a five-byte nop",
            Self::Return => "on a return",
        }
    }

    /// The function whose first instruction is of that kind.
    const fn function(self) -> extern "C" fn(u64) -> u64 {
        match self {
            Self::Emulated => emulated,
            Self::Stepped => stepped,
            Self::Nop => nop,
            Self::Return => returns,
        }
    }

    /// Address of that function in this process.
    pub(crate) fn address(self) -> u64 {
        self.function() as usize as u64
    }
}

/// Runs as the sacrificed process: says that it is ready, waits, says how the probed calls went, ends. Returns only where no
/// filter could be installed, after it has said so.
pub fn sit(perch: Perch) {
    let function = perch.function();
    if let Err(why) = confine() {
        say(why.as_bytes());
        return;
    }
    // From here on any other system call than the filter's ends the process: no allocation, no `std::process::exit`.
    let before = calls(function);
    say(&[READY]);
    let mut go = [0];
    if unistd::read(io::stdin(), &mut go) == Ok(1) {
        let right = calls(function) == before;
        say(&[if right { RIGHT } else { WRONG }]);
    }
    // SAFETY: ends the process without running anything of it; nothing is left to be flushed or freed.
    unsafe { libc::_exit(0) }
}

/// A failed write shows as silence on the other side.
fn say(words: &[u8]) {
    let _ = unistd::write(io::stdout(), words);
}

fn calls(function: extern "C" fn(u64) -> u64) -> u64 {
    let function = std::hint::black_box(function);
    (0..CALLS).fold(0, |sum, call| function(sum ^ call))
}

/// Allows what is needed to talk and to end, and what the kernel needs to return from a signal; everything else kills.
fn confine() -> Result<(), String> {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
    ];
    let rules: BTreeMap<_, _> = allowed.into_iter().map(|call| (call, vec![])).collect();
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|error| format!("no seccomp filter for this machine: {error}"))?;
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )
    .and_then(TryInto::try_into)
    .map_err(|error| format!("no seccomp filter could be made: {error}"))?;
    seccompiler::apply_filter(&program)
        .map_err(|error| format!("the kernel took no seccomp filter: {error}"))
}

/// Which instructions are emulated: `push_setup_xol_ops`, `branch_setup_xol_ops` (arch/x86/kernel/uprobes.c). The five-byte
/// `nop` that becomes a call of the uprobe system call: `can_optimize`, same file, 6.18.
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

/// Which instructions are emulated: `arm_probe_decode_insn` (arch/arm64/kernel/probes/decode-insn.c).
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
    fn the_functions_do_what_their_text_says() {
        for (perch, added) in [
            (Perch::Emulated, 3),
            (Perch::Stepped, 5),
            (Perch::Nop, 7),
            (Perch::Return, 9),
        ] {
            assert_eq!(perch.function()(1000), 1000 + added, "{perch:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for perch in Perch::ALL {
            assert_eq!(Perch::from_str(perch.name(), false), Ok(perch));
        }
    }
}
