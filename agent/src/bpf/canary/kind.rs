//! The kinds of uprobe that the canary tests.

use clap::ValueEnum;

/// A kind of probe, by the instruction that it is placed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum ProbeKind {
    /// An entry probe on an instruction that the kernel emulates.
    Emulated,
    /// An entry probe on an instruction that the kernel single-steps.
    Stepped,
    /// An entry probe on a five-byte `nop`: a system call since 6.18 on x86-64.
    Nop,
    /// A return probe: a system call since 6.11 on x86-64.
    Return,
}

impl ProbeKind {
    /// The kinds that the agent places into other processes.
    pub(crate) const USED: [Self; 3] = [Self::Emulated, Self::Stepped, Self::Nop];
    /// Every kind.
    pub(crate) const ALL: [Self; 4] = [Self::Emulated, Self::Stepped, Self::Nop, Self::Return];

    /// Name on the command line of the canary process.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Stepped => "stepped",
            Self::Nop => "nop",
            Self::Return => "return",
        }
    }

    /// Description for reports, to follow "a probe".
    #[must_use]
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Emulated => "on an emulated instruction",
            Self::Stepped => "on a single-stepped instruction",
            Self::Nop => "on a five-byte nop",
            Self::Return => "on a return",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_the_command_line() {
        for kind in ProbeKind::ALL {
            assert_eq!(ProbeKind::from_str(kind.name(), false), Ok(kind));
        }
    }
}
