//! The kernel's lockdown (kernel_lockdown(7)): in its stricter form no BPF program may read memory.

use std::fs;

/// How far the kernel is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockdown {
    /// Not at all, or the kernel has no lockdown, or securityfs is not mounted and nobody can tell.
    None,
    /// The kernel's integrity is guarded; observation is not affected.
    Integrity,
    /// Nothing may read the kernel's memory, nor other processes' through it: no uprobe sees an argument's target.
    Confidentiality,
}

impl Lockdown {
    /// What this kernel says.
    #[must_use]
    pub fn own() -> Self {
        let text = fs::read_to_string("/sys/kernel/security/lockdown");
        text.map_or(Self::None, |text| Self::parse(&text))
    }

    /// `none [integrity] confidentiality`.
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
    fn the_bracketed_word_counts() {
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
