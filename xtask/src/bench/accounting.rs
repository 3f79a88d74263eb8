//! The kernel's accounting of BPF programs, which costs time itself and is off as a rule.

use std::fs;

use anyhow::{Context as _, Result};

/// Switches it (`Documentation/admin-guide/sysctl/kernel.rst`).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The accounting, switched on; as it was before when this is dropped.
pub(super) struct Accounting {
    before: String,
}

impl Accounting {
    pub(super) fn switch_on() -> Result<Self> {
        let before =
            fs::read_to_string(SWITCH).with_context(|| format!("failed to read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("failed to write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, self.before.trim()) {
            let before = self.before.trim();
            eprintln!("warning: failed to write {before} to {SWITCH}: {error}; do it by hand");
        }
    }
}
