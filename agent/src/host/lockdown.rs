//! The kernel's lockdown mode (kernel_lockdown(7)); under confidentiality no BPF program may read
//! memory.

use std::fs;

use super::tracefs;
use crate::bpf::features::{self, Answer};

/// Lockdown mode of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lockdown {
    /// No lockdown; also if the kernel does not have it or securityfs is not mounted.
    None,
    /// The kernel protects its integrity; the agent is not affected.
    Integrity,
    /// BPF programs may not read memory, so that uprobes cannot follow pointers.
    Confidentiality,
}

impl Lockdown {
    /// Determines the mode of this kernel, without mounting anything: under confidentiality the
    /// kernel crashes when a mount of tracefs ends. A pod has no securityfs, which names the mode;
    /// without it only confidentiality is recognised.
    #[must_use]
    pub(crate) fn detect() -> Self {
        if let Ok(text) = fs::read_to_string("/sys/kernel/security/lockdown") {
            return Self::parse(&text);
        }
        let parameters = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self::infer(&features::reads_kernel(), tracefs::state(), &parameters)
    }

    /// Infers the mode from what it closes. Before 5.13 the kernel still loads programs that read
    /// its memory, so that a missing refusal is no evidence.
    fn infer(reads_kernel: &Answer, tracefs: tracefs::State, parameters: &str) -> Self {
        let is_requested = || {
            parameters
                .split_whitespace()
                .any(|word| word == "lockdown=confidentiality")
        };
        let is_closed = *reads_kernel == Answer::No
            || match tracefs {
                tracefs::State::Usable => false,
                tracefs::State::Empty => true,
                tracefs::State::NotMounted => is_requested(),
            };
        match is_closed {
            true => Self::Confidentiality,
            false => Self::None,
        }
    }

    /// Parses a line such as `none [integrity] confidentiality`.
    fn parse(text: &str) -> Self {
        match text.split(['[', ']']).nth(1) {
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_word_is_the_mode() {
        let parse = Lockdown::parse;
        assert_eq!(parse("[none] integrity confidentiality\n"), Lockdown::None);
        assert_eq!(
            parse("none [integrity] confidentiality\n"),
            Lockdown::Integrity
        );
        assert_eq!(
            parse("none integrity [confidentiality]\n"),
            Lockdown::Confidentiality
        );
        assert_eq!(parse(""), Lockdown::None);
    }

    #[test]
    fn without_securityfs_confidentiality_shows_in_what_it_closes() {
        use tracefs::State::{Empty, NotMounted, Usable};
        let refused = || Answer::Refused("no permission".to_owned());
        let requested = "quiet lockdown=confidentiality";
        for (reads_kernel, tracefs, parameters, is_closed) in [
            (Answer::Yes, Usable, "quiet", false),
            (Answer::Yes, NotMounted, "lockdown=integrity", false),
            (refused(), NotMounted, "quiet", false),
            (Answer::No, NotMounted, "quiet", true),
            (Answer::No, Usable, "quiet", true),
            (refused(), Empty, "quiet", true),
            (refused(), NotMounted, requested, true),
            // Before 5.13 the program is loaded.
            (Answer::Yes, Empty, "quiet", true),
            (Answer::Yes, NotMounted, requested, true),
            // A kernel without the security module ignores the parameter.
            (Answer::Yes, Usable, requested, false),
        ] {
            let mode = Lockdown::infer(&reads_kernel, tracefs, parameters);
            let expected = match is_closed {
                true => Lockdown::Confidentiality,
                false => Lockdown::None,
            };
            assert_eq!(mode, expected, "{reads_kernel:?} {tracefs:?} {parameters}");
        }
    }
}
