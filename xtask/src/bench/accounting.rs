//! The kernel's run-time statistics of BPF programs, which have a cost and are normally disabled.

use std::fs;

use anyhow::{Context as _, Result};

/// sysctl of the statistics (`Documentation/admin-guide/sysctl/kernel.rst`).
const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Enabled statistics; the earlier value is restored on drop.
pub(super) struct BpfStatistics {
    previous: String,
}

impl BpfStatistics {
    /// Enables the statistics.
    pub(super) fn enable() -> Result<Self> {
        let previous =
            fs::read_to_string(SYSCTL).with_context(|| format!("failed to read {SYSCTL}"))?;
        fs::write(SYSCTL, "1").with_context(|| format!("failed to write {SYSCTL}"))?;
        Ok(Self { previous })
    }
}

impl Drop for BpfStatistics {
    fn drop(&mut self) {
        let previous = self.previous.trim();
        if let Err(error) = fs::write(SYSCTL, previous) {
            eprintln!(
                "warning: failed to write {previous} to {SYSCTL}: {error}; write it manually"
            );
        }
    }
}
