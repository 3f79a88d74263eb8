//! The kernel's lockdown mode (kernel_lockdown(7)); under confidentiality no BPF program may read
//! memory.

use std::fs;

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
    /// Reads the mode of this kernel.
    #[must_use]
    pub(crate) fn detect() -> Self {
        let text = fs::read_to_string("/sys/kernel/security/lockdown");
        text.map_or(Self::None, |text| Self::parse(&text))
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
}
